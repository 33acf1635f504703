{{/* Checks of values that the schema or the API server could reject, but without a message that names the value and says what to do. */}}

{{- define "flokoa-operator.checks" -}}
{{- include "flokoa-operator.checkLabels" . }}
{{- include "flokoa-operator.checkNames" . }}
{{- end }}

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

{{/* Rejects names that mean something else than the user wants. */}}
{{- define "flokoa-operator.checkNames" -}}
{{- if eq .Values.image.tag "latest" }}
{{- fail (printf "image.tag must not be latest, which does not say which version runs: set a version, or leave it empty to use %s" .Chart.AppVersion) }}
{{- end }}
{{- if eq .Values.serviceAccount.name "default" }}
{{- fail "serviceAccount.name must not be default, because every pod that names no ServiceAccount would get the operator's permissions: choose another name" }}
{{- end }}
{{- range .Values.watchNamespaces }}
{{- if hasPrefix "kube-" . }}
{{- fail (printf "watchNamespaces must not contain %s, because kube-* namespaces are reserved for Kubernetes: remove it, and create Agents in another namespace" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects an entry of extraObjects. Cluster-scoped objects may be part of the release, as its ClusterRoles are. */}}
{{- define "flokoa-operator.checkObject" -}}
{{- $what := printf "extraObjects: %s %s" .kind .metadata.name }}
{{- /* Helm installs the items of a list, which these checks would not see. Helm goes by the field items, whatever the kind is. */}}
{{- if or (hasSuffix "List" .kind) (hasKey . "items") }}
{{- fail (printf "%s must not be a list: list its items themselves in extraObjects" $what) }}
{{- end }}
{{- if eq .kind "Secret" }}
{{- fail (printf "%s must not be in the values, which are stored in plain text: create it by other means" $what) }}
{{- end }}
{{- end }}
