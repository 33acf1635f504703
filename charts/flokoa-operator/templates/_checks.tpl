{{/* Checks of values that the schema or the API server could reject, but without a message that names the value and says what to do. */}}

{{- define "flokoa-operator.checks" -}}
{{- include "flokoa-operator.checkLabels" . }}
{{- include "flokoa-operator.checkNames" . }}
{{- include "flokoa-operator.checkProductionNamespaces" . }}
{{- include "flokoa-operator.checkStrategy" . }}
{{- end }}

{{/* Rejects names that mean something else than the user wants. */}}
{{- define "flokoa-operator.checkNames" -}}
{{- if eq .Values.image.tag "latest" }}
{{- fail (printf "image.tag must not be latest, which does not say which version runs: set a version, or leave it empty to use %s" .Chart.AppVersion) }}
{{- end }}
{{- if eq .Values.serviceAccount.name "default" }}
{{- fail "serviceAccount.name must not be default, because every pod that names no ServiceAccount would get the operator's permissions: choose another name" }}
{{- end }}
{{- range $namespace, $secrets := .Values.configRollouts.secrets }}
{{- if and $.Values.watchNamespaces (not (has $namespace $.Values.watchNamespaces)) }}
{{- fail (printf "configRollouts.secrets must not contain namespace %s, because the operator reconciles no Agent there: add it to watchNamespaces, or remove it" $namespace) }}
{{- end }}
{{- end }}
{{- range .Values.watchNamespaces }}
{{- if hasPrefix "kube-" . }}
{{- fail (printf "watchNamespaces must not contain %s, because kube-* namespaces are reserved for Kubernetes: remove it, and create Agents in another namespace" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rejects what is no regular expression for names of namespaces: its alert would match nothing, or Prometheus would reject the rule. Behind
the | every valid expression matches the empty string, and an invalid one matches nothing.
*/}}
{{- define "flokoa-operator.checkProductionNamespaces" -}}
{{- with .Values.monitoring.alerts.productionNamespaces }}
{{- if not (and (regexMatch `^([-a-z0-9.*+?|()^$,:{}\[\]]|\\[a-zA-Z.-])+$` .) (regexMatch (printf "|%s" .) "")) }}
{{- fail (printf "monitoring.alerts.productionNamespaces is %s, which is not a valid regular expression for names of namespaces: set it to one without quotes, spaces, and uppercase letters, for example shop|prod-.*" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects a strategy that the API server would reject after other objects of the release are installed. */}}
{{- define "flokoa-operator.checkStrategy" -}}
{{- with .Values.strategy }}
{{- if and (eq (get . "type") "Recreate") (hasKey . "rollingUpdate") }}
{{- fail "strategy.rollingUpdate must not be set with strategy.type Recreate: remove one of them" }}
{{- end }}
{{- $update := default dict .rollingUpdate }}
{{- if and (regexMatch "^0+%?$" (toString $update.maxSurge)) (regexMatch "^0+%?$" (toString $update.maxUnavailable)) }}
{{- fail "strategy.rollingUpdate.maxSurge and strategy.rollingUpdate.maxUnavailable are both 0, so no pod could be replaced: set one of them to 1 or more" }}
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
