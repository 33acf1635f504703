{{/*
Namespace of every object and of the operator's pods. Helm keeps its release in the namespace of the command line, which
namespaceOverride does not change.
*/}}
{{- define "flokoa-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
Metadata of an object; takes a dict of root and, if they apply, name instead of the full name, suffix of the name, namespace instead of the
operator's, cluster (true for a cluster-scoped object), and its own labels and annotations. The object's own value of a key wins over a
common one, and the chart's label over both. Names are quoted here and in references, because 2024 and null are valid names and no strings.
*/}}
{{- define "flokoa-operator.metadata" -}}
name: {{ printf "%s%s" (default (include "flokoa-operator.fullname" .root) .name) (default "" .suffix) | quote }}
{{- if not .cluster }}
namespace: {{ default (include "flokoa-operator.namespace" .root) .namespace | quote }}
{{- end }}
labels:
  {{- $labels := include "flokoa-operator.labels" .root | fromYaml }}
  {{- mergeOverwrite (deepCopy .root.Values.commonLabels) (deepCopy (default dict .labels)) $labels | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (deepCopy (default dict .annotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
