// Loads and checks a configuration file as `kind create cluster` does, and prints its name and the roles of its nodes.
// It belongs in a copy of kind's own module: the package that loads such files is internal.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
)

func main() {
	cluster, err := encoding.Load(os.Args[1])
	if err == nil {
		err = cluster.Validate()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cluster.Name)
	for _, node := range cluster.Nodes {
		fmt.Println(node.Role)
	}
}
