{{/*
Namespace of every object and of the operator's pods. Helm keeps its release in the namespace of the command line, which
namespaceOverride does not change.
*/}}
{{- define "flokoa-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
Metadata of an object; takes a dict of root, name, and, if it has them, namespace and its own labels and annotations. The object's own
value of a key wins over a common one, and the chart's label over both.
*/}}
{{- define "flokoa-operator.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- $labels := include "flokoa-operator.labels" .root | fromYaml }}
  {{- mergeOverwrite (deepCopy .root.Values.commonLabels) (deepCopy (default dict .labels)) $labels | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (deepCopy (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
