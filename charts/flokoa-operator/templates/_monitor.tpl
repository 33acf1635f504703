{{/*
Metadata of a monitor; takes a dict of root and monitor, its values. For a Prometheus that reads monitors only in its own namespace, it
may be in another one than the operator.
*/}}
{{- define "flokoa-operator.monitorMetadata" -}}
{{- include "flokoa-operator.metadata" (dict "root" .root "namespace" .monitor.namespace "labels" .monitor.labels "annotations" .monitor.annotations) }}
{{- end }}

{{/* What a monitor scrapes; takes a dict of root and monitor, its values. */}}
{{- define "flokoa-operator.monitorSelector" -}}
{{- with .monitor.namespace }}
# Without it, a monitor finds only what is in its own namespace.
namespaceSelector:
  matchNames:
    - {{ include "flokoa-operator.namespace" $.root | quote }}
{{- end }}
selector:
  matchLabels:
    {{- include "flokoa-operator.selectorLabels" .root | nindent 4 }}
{{- end }}

{{/* How a monitor scrapes; takes its values. */}}
{{- define "flokoa-operator.monitorScrape" -}}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
