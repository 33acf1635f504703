{{/*
Amount of a quantity: CPU in millicores, memory and storage in MiB; the schema allows no other forms. Takes a dict of path and value. Rejects a
quantity that is not canonical, because the API server stores the canonical form and every comparison would show a diff.
*/}}
{{- define "flokoa-environment.amount" -}}
{{- if hasSuffix "m" .value }}{{ trimSuffix "m" .value }}
{{- else if hasSuffix "Gi" .value }}{{ mul (trimSuffix "Gi" .value) 1024 }}
{{- else if hasSuffix "Mi" .value }}
{{- $mebibytes := trimSuffix "Mi" .value }}
{{- if eq (mod $mebibytes 1024) 0 }}{{ fail (printf "%s is %s, which is not canonical: write %dGi" .path .value (div $mebibytes 1024)) }}{{ end }}
{{- $mebibytes }}
{{- else }}{{ mul .value 1000 }}
{{- end }}
{{- end }}

{{/* Quantity of an amount, the inverse of flokoa-environment.amount; takes a dict of resource (cpu, memory, or ephemeral-storage) and amount. */}}
{{- define "flokoa-environment.quantity" -}}
{{- $cpu := eq .resource "cpu" }}
{{- $whole := ternary 1000 1024 $cpu }}
{{- if mod .amount $whole }}{{ .amount }}{{ ternary "m" "Mi" $cpu }}
{{- else }}{{ div .amount $whole }}{{ ternary "" "Gi" $cpu }}
{{- end }}
{{- end }}

{{/*
Rejects a quota that cannot hold a rolling update of every Agent that it allows at the minimum replicas and the
default sizes, because such an update would never finish. A rollout
never goes below the desired replicas: new pods start first, and terminating pods still count. So R replicas need up to 2 x R pods.
*/}}
{{- define "flokoa-environment.checkQuota" -}}
{{- $quota := .Values.quota }}
{{- $agents := int64 $quota.agents }}
{{- $replicas := int64 .Values.minReplicas }}
{{- $peak := mul 2 $agents $replicas }}
{{- $why := printf "a rolling update of %d Agents (quota.agents) with %d replicas each (minReplicas) needs up to 2 x %d x %d = %d pods" $agents $replicas $agents $replicas $peak }}
{{- if lt (int64 $quota.pods) $peak }}
{{- fail (printf "quota.pods is %d, but %s. Raise quota.pods to %d or more, or lower quota.agents or minReplicas" (int64 $quota.pods) $why $peak) }}
{{- end }}
{{- range $what, $default := dict "requests" "defaultRequest" "limits" "default" }}
{{- range $resource := list "cpu" "memory" "ephemeral-storage" }}
{{- $path := printf "quota.%s.%s" $what $resource }}
{{- $have := get (get $quota $what) $resource }}
{{- $eachPath := printf "limits.%s.%s" $default $resource }}
{{- $each := get (get $.Values.limits $default) $resource }}
{{- $need := mul $peak (include "flokoa-environment.amount" (dict "path" $eachPath "value" $each)) }}
{{- if lt (include "flokoa-environment.amount" (dict "path" $path "value" $have) | int64) $need }}
{{- $enough := include "flokoa-environment.quantity" (dict "resource" $resource "amount" $need) }}
{{- fail (printf "%s is %s, but %s, and %d x %s (%s) = %s. Raise %s to %s or more, or lower quota.agents or %s" $path $have $why $peak $each $eachPath $enough $path $enough $eachPath) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects a default above its limit, because the API server would reject every container that relies on the default. */}}
{{- define "flokoa-environment.checkLimits" -}}
{{- range $resource := list "cpu" "memory" "ephemeral-storage" }}
{{- range $pair := list (list "defaultRequest" "default") (list "default" "max") }}
{{- $low := dict "path" (printf "limits.%s.%s" (first $pair) $resource) "value" (get (get $.Values.limits (first $pair)) $resource) }}
{{- $high := dict "path" (printf "limits.%s.%s" (last $pair) $resource) "value" (get (get $.Values.limits (last $pair)) $resource) }}
{{- if gt (include "flokoa-environment.amount" $low | int64) (include "flokoa-environment.amount" $high | int64) }}
{{- fail (printf "%s is %s, but must not exceed %s, which is %s: lower the first or raise the second" $low.path $low.value $high.path $high.value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
