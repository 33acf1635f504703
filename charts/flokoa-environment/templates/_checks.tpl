{{/* Checks of values that the schema could reject, but without a message that says what to do. */}}

{{/* Rejects labels and annotations that the chart sets; takes a dict of path, map and own (a regular expression). */}}
{{- define "flokoa-environment.checkKeys" -}}
{{- range $key, $_ := .map }}
{{- if regexMatch $.own $key }}{{ fail (printf "%s must not contain %s, because the chart sets it: remove it" $.path $key) }}{{ end }}
{{- end }}
{{- end }}

{{- define "flokoa-environment.ownLabels" -}}
^(flokoa\.ai/|pod-security\.kubernetes\.io/|app\.kubernetes\.io/(name|version|managed-by|part-of)$|helm\.sh/chart$)
{{- end }}

{{/* Rejects Kubernetes' own namespaces and the namespace of the release. */}}
{{- define "flokoa-environment.checkNamespace" -}}
{{- $name := include "flokoa-environment.namespace" . }}
{{- if regexMatch "^(kube-.*|default)$" $name }}
{{- fail (printf "namespace.name must not be %s, because Kubernetes uses that namespace: leave it empty to use flokoa-%s, or choose another name" $name .Values.environment) }}
{{- end }}
{{- /*
An upgrade that forgets namespace.name would move the release to another namespace, and leave its own without a guard. Teams call releases
like their namespaces, so the name of the release tells.
*/}}
{{- if and (not .Values.namespace.name) (ne .Release.Name $name) (regexMatch "-(dev|staging|production)$" .Release.Name) }}
{{- fail (printf "namespace.name is empty, so release %s would hold namespace %s: set namespace.name to %s, or to %s if you mean it" .Release.Name $name .Release.Name $name) }}
{{- end }}
{{- /*
Helm stores releases in Secrets of the release namespace. In the environment itself, secret-managers could read and change them, and
they would count against the quota.
*/}}
{{- if has $name (list "flokoa-system" .Values.operator.namespace) }}
{{- fail (printf "namespace.name must not be %s, which is the namespace of the operator: choose another namespace.name" $name) }}
{{- end }}
{{- if eq .Release.Namespace $name }}
{{- fail (printf "the release namespace must not be %s, which is the namespace of the environment: install with --namespace flokoa-system" $name) }}
{{- end }}
{{- end }}

{{/* Rejects extraObjects that do not belong in the environment; takes a dict of object and namespace. */}}
{{- define "flokoa-environment.checkObject" -}}
{{- /* Helm installs the items of an object that has them, whatever its kind says. */}}
{{- if or (hasSuffix "List" .object.kind) (hasKey .object "items") }}
{{- fail (printf "extraObjects must not contain a %s with items: list its items themselves" .object.kind) }}
{{- end }}
{{- $what := printf "extraObjects: %s %s" .object.kind .object.metadata.name }}
{{- if eq .object.kind "Secret" }}
{{- fail (printf "%s must not be in the values, which are stored in plain text: create it in namespace %s by other means" $what .namespace) }}
{{- end }}
{{- if regexMatch "^(Namespace|Node|PersistentVolume|CustomResourceDefinition|APIService|.+Class|Cluster.+|.+WebhookConfiguration|.+AdmissionPolicy|.+AdmissionPolicyBinding)$" .object.kind }}
{{- fail (printf "%s is cluster-scoped and belongs to no environment: apply it separately" $what) }}
{{- end }}
{{- if ne (default .namespace .object.metadata.namespace) .namespace }}
{{- fail (printf "%s has metadata.namespace %s, but the environment is namespace %s: remove metadata.namespace" $what .object.metadata.namespace .namespace) }}
{{- end }}
{{- end }}

{{/* Rejects addresses that no policy can match, or that are too many, or that give out credentials. */}}
{{- define "flokoa-environment.checkEgress" -}}
{{- $egress := .Values.network.egress }}
{{- if and $egress.public (ne .Values.environment "dev") }}
{{- fail (printf "network.egress.public must not be true in %s, only in dev: list what Agents may call in network.egress.cidrs or network.egress.pods" .Values.environment) }}
{{- end }}
{{- range $egress.cidrs }}
{{- if not (regexMatch "^([0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}|[0-9a-f]*:[0-9a-f:]*/[0-9]{1,3})$" .) }}
{{- fail (printf "network.egress.cidrs must not contain %s, because network policies match addresses: write a CIDR such as 203.0.113.0/24, or allow an egress proxy in network.egress.pods" .) }}
{{- end }}
{{- if not (regexMatch ":[0-9a-f:]*/(1[6-9]|[2-9][0-9]|1[01][0-9]|12[0-8])$|\\.[0-9]+/([89]|[12][0-9]|3[0-2])$" .) }}
{{- fail (printf "network.egress.cidrs must not contain %s, because the prefix length must be at least 8, or 16 for IPv6: list the ranges of your providers" .) }}
{{- end }}
{{- if include "flokoa-environment.linkLocal" . }}
{{- fail (printf "network.egress.cidrs must not contain %s, where nodes and clouds give out credentials: set network.egress.identity" .) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rejects a peer in the namespace of another environment: an Agent of dev must never reach the Agents and tools of production. Takes a dict of
path, namespace, and environment.
*/}}
{{- define "flokoa-environment.checkPeer" -}}
{{- $other := regexFind "(^|-)(dev|staging|production)$" .namespace | trimPrefix "-" }}
{{- if and $other (ne $other .environment) }}
{{- fail (printf "%s must not be %s, whose name says that it belongs to %s, because this environment is %s: run what its Agents call in this namespace, or in another one of %s" .path .namespace $other .environment .environment) }}
{{- end }}
{{- end }}

{{/* Rejects network.egress.pods and network.egress.rules that select the namespace of another environment. */}}
{{- define "flokoa-environment.checkPeers" -}}
{{- $environment := .Values.environment }}
{{- range $i, $peer := .Values.network.egress.pods }}
{{- include "flokoa-environment.checkPeer" (dict "path" (printf "network.egress.pods[%d].namespace" $i) "namespace" $peer.namespace "environment" $environment) }}
{{- end }}
{{- range $i, $rule := .Values.network.egress.rules }}
{{- range $j, $to := $rule.to }}
{{- $path := printf "network.egress.rules[%d].to[%d].namespaceSelector" $i $j }}
{{- $selector := $to.namespaceSelector | default dict }}
{{- range $key := list "kubernetes.io/metadata.name" "flokoa.ai/environment" }}
{{- with get ($selector.matchLabels | default dict) $key }}
{{- include "flokoa-environment.checkPeer" (dict "path" (printf "%s.matchLabels[%s]" $path $key) "namespace" . "environment" $environment) }}
{{- end }}
{{- end }}
{{- range $selector.matchExpressions }}
{{- if and (eq .key "flokoa.ai/environment") (has .operator (list "Exists" "NotIn")) }}
{{- fail (printf "%s.matchExpressions must not have the operator %s for flokoa.ai/environment, because it selects other environments: use In with the value %s" $path .operator $environment) }}
{{- end }}
{{- if and (eq .operator "In") (has .key (list "kubernetes.io/metadata.name" "flokoa.ai/environment")) }}
{{- $key := .key }}
{{- range .values }}
{{- include "flokoa-environment.checkPeer" (dict "path" (printf "%s.matchExpressions[%s]" $path $key) "namespace" . "environment" $environment) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects callers that are everyone by mistake. */}}
{{- define "flokoa-environment.checkGateways" -}}
{{- range $i, $caller := .Values.network.gateways }}
{{- if and $caller.cidr (or $caller.namespace $caller.podLabels) }}
{{- fail (printf "network.gateways[%d] must have either cidr, or namespace and podLabels: make two entries" $i) }}
{{- end }}
{{- if and (has $caller.cidr (list "0.0.0.0/0" "::/0")) (not $caller.except) }}
{{- fail (printf "network.gateways[%d].cidr is %s, which includes the pods of every namespace: list the pod and node ranges of the cluster in except" $i $caller.cidr) }}
{{- end }}
{{- end }}
{{- end }}
