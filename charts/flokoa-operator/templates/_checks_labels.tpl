{{/* Rejects labels that the chart sets: monitors, the Service, and the Deployment select by some of them. */}}
{{- define "flokoa-operator.checkLabels" -}}
{{- range $key, $_ := .Values.podLabels }}
{{- if regexMatch "^app\\.kubernetes\\.io/(name|instance)$" $key }}
{{- fail (printf "podLabels must not contain %s, because the Deployment selects its pods by it: remove it" $key) }}
{{- end }}
{{- end }}
{{- range $path, $labels := dict
      "commonLabels" .Values.commonLabels
      "service.labels" .Values.service.labels
      "monitoring.serviceMonitor.labels" .Values.monitoring.serviceMonitor.labels
      "monitoring.podMonitor.labels" .Values.monitoring.podMonitor.labels
      "monitoring.alerts.labels" .Values.monitoring.alerts.labels
      "monitoring.dashboard.labels" .Values.monitoring.dashboard.labels }}
{{- range $key, $_ := $labels }}
{{- if regexMatch "^(helm\\.sh/chart|app\\.kubernetes\\.io/(name|instance|version|component|managed-by|part-of))$" $key }}
{{- fail (printf "%s must not contain %s, because the chart sets it: remove it" $path $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
