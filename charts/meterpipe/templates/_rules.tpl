{{/* What the operator may do. */}}

{{/* In the namespaces of pipelines: read them, write their status, and own what they are made of. */}}
{{- define "meterpipe.pipelineRules" -}}
- apiGroups: [meterpipe.io]
  resources: [meterpipelines]
  verbs: [get, list, watch, patch]
- apiGroups: [meterpipe.io]
  resources: [meterpipelines/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps, secrets, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
{{- end -}}

{{/* Where Kafka and Cassandra are: read them, and own topics and users. */}}
{{- define "meterpipe.dependencyRules" -}}
- apiGroups: [kafka.strimzi.io]
  resources: [kafkas]
  verbs: [get, list, watch]
- apiGroups: [kafka.strimzi.io]
  resources: [kafkatopics, kafkausers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [k8ssandra.io]
  resources: [k8ssandraclusters]
  verbs: [get, list, watch]
{{- end -}}

{{- define "meterpipe.secretReading" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end -}}
