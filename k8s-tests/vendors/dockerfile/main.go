// Reads a Dockerfile as BuildKit does: syntax, instructions, and the checks of `docker build --check`.
package main

import (
	"fmt"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	file, err := os.Open(os.Args[1])
	check(err)
	parsed, err := parser.Parse(file)
	check(err)
	warnings := 0
	warn := func(name, _, _, message string, _ []parser.Range) {
		warnings++
		fmt.Fprintln(os.Stderr, name+": "+message)
	}
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{Warn: warn}))
	check(err)
	for _, stage := range stages {
		fmt.Println(stage.BaseName, len(stage.Commands))
	}
	if warnings > 0 || len(parsed.Warnings) > 0 {
		check(fmt.Errorf("%d warnings", warnings+len(parsed.Warnings)))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
