{{/* A quantity of CPU in thousandths, or of memory in MiB. The schema lets in no other forms. */}}
{{- define "flokoa-environment.amount" -}}
{{- if hasSuffix "m" . }}{{ trimSuffix "m" . }}
{{- else if hasSuffix "Gi" . }}{{ mul (trimSuffix "Gi" . | atoi) 1024 }}
{{- else if hasSuffix "Mi" . }}{{ trimSuffix "Mi" . }}
{{- else }}{{ mul (atoi .) 1000 }}
{{- end }}
{{- end }}

{{/*
A quota that cannot hold a rolling update of everything it allows would stop it for good, because a rollout never goes below the
wanted count: a new pod comes first, and those on their way out still count. So an Agent of R replicas takes up to 2 R pods.
*/}}
{{- define "flokoa-environment.checkQuota" -}}
{{- $least := include "flokoa-environment.leastReplicas" . | atoi }}
{{- $peak := mul 2 .Values.quota.agents $least }}
{{- $why := printf "%d Agents of %d replicas take up to 2 x %d x %d = %d pods in a rolling update" (int .Values.quota.agents) $least (int .Values.quota.agents) $least $peak }}
{{- if lt (int .Values.quota.pods) (int $peak) }}
{{- fail (printf "quota.pods is %d, which is less than %d: %s. Raise quota.pods or lower quota.agents" (int .Values.quota.pods) $peak $why) }}
{{- end }}
{{- range $what, $default := dict "requests" .Values.limits.defaultRequest "limits" .Values.limits.default }}
{{- range $resource := list "cpu" "memory" }}
{{- $hard := get (get $.Values.quota $what) $resource }}
{{- $each := get $default $resource }}
{{- $have := include "flokoa-environment.amount" $hard | atoi }}
{{- $need := mul $peak (include "flokoa-environment.amount" $each | atoi) }}
{{- if lt $have (int $need) }}
{{- $unit := ternary "m" "Mi" (eq $resource "cpu") }}
{{- fail (printf "quota.%s.%s is %s, which is less than %d%s: %s, and limits.%s.%s gives each %s. Raise the first, or lower quota.agents or the last" $what $resource $hard $need $unit $why (ternary "defaultRequest" "default" (eq $what "requests")) $resource $each) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A limit below what a container gets by itself would refuse every container that says nothing. */}}
{{- define "flokoa-environment.checkLimits" -}}
{{- range $resource := list "cpu" "memory" }}
{{- range $pair := list (list "defaultRequest" "default") (list "default" "max") }}
{{- $low := get (get $.Values.limits (first $pair)) $resource }}
{{- $high := get (get $.Values.limits (last $pair)) $resource }}
{{- if gt (include "flokoa-environment.amount" $low | atoi) (include "flokoa-environment.amount" $high | atoi) }}
{{- fail (printf "limits.%s.%s is %s, which is more than limits.%s.%s, %s" (first $pair) $resource $low (last $pair) $resource $high) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
