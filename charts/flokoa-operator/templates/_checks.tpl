{{/* Checks of values that the schema or the API server could reject, but without a message that names the value and says what to do. */}}

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
