{{/* Checks of subjects, rules, and ServiceAccounts. */}}

{{/* Rejects subjects that mean everyone; takes a dict of path, groups, users and serviceAccounts. */}}
{{- define "flokoa-environment.checkSubjects" -}}
{{- range .groups }}
{{- if or (hasPrefix "system:" .) (hasPrefix "kubeadm:" .) }}
{{- fail (printf "%s.groups must not contain %s, a group of Kubernetes, such as all pods of a namespace or all cluster admins: use groups of your identity provider, or list ServiceAccounts in %s.serviceAccounts" $.path . $.path) }}
{{- end }}
{{- end }}
{{- range .users }}
{{- if eq . "system:anonymous" }}{{ fail (printf "%s.users must not contain %s, because it means every unauthenticated client: remove it" $.path .) }}{{ end }}
{{- if hasPrefix "system:serviceaccount:" . }}{{ fail (printf "%s.users must not contain the ServiceAccount %s: list it in %s.serviceAccounts as {namespace: ..., name: ...}" $.path . $.path) }}{{ end }}
{{- end }}
{{- include "flokoa-environment.checkServiceAccounts" (dict "path" (printf "%s.serviceAccounts" .path) "accounts" .serviceAccounts) }}
{{- end }}

{{/*
Rejects ServiceAccounts named default, as which every pod runs that names no other. kustomize would also move such a subject to its own
namespace. Takes a dict of path and accounts.
*/}}
{{- define "flokoa-environment.checkServiceAccounts" -}}
{{- range .accounts }}
{{- if eq .name "default" }}
{{- fail (printf "%s must not contain the ServiceAccount default of namespace %s, because every pod there that names no ServiceAccount runs as it: use a dedicated ServiceAccount" $.path .namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Rejects rules that would give agent-deployer more than what it deploys. A role that writes pods, or objects of which a controller makes pods,
can use every Secret of the namespace. Only verbs on objects are allowed: escalate, bind, impersonate, and use grant other permissions.
*/}}
{{- define "flokoa-environment.checkExtraRules" -}}
{{- range $i, $rule := .Values.access.deployers.extraRules }}
{{- $path := printf "access.deployers.extraRules[%d]" $i }}
{{- range $rule.apiGroups }}
{{- if has . (list "" "*" "agent.flokoa.ai" "apps" "authentication.k8s.io" "authorization.k8s.io" "batch" "certificates.k8s.io" "rbac.authorization.k8s.io" "kustomize.toolkit.fluxcd.io" "helm.toolkit.fluxcd.io" "argoproj.io" "tekton.dev" "kyverno.io" "batch.volcano.sh" "serving.knative.dev") }}
{{- fail (printf "%s.apiGroups must not contain %q, because its resources include Secrets, permissions, what the role has, or objects of which a controller makes pods: name the group of what you deploy, for example gateway.networking.k8s.io" $path .) }}
{{- end }}
{{- end }}
{{- range $rule.resources }}
{{- if or (contains "*" .) (has . (list "secrets" "pushsecrets" "networkpolicies" "ciliumnetworkpolicies" "scaledjobs")) }}
{{- fail (printf "%s.resources must not contain %q, because it would give access to Secrets, pods, or the network policies: name the resources of what you deploy, for example httproutes" $path .) }}
{{- end }}
{{- end }}
{{- range $rule.verbs }}
{{- if not (has . (list "get" "list" "watch" "create" "update" "patch" "delete")) }}
{{- fail (printf "%s.verbs must not contain %q: use get, list, watch, create, update, patch, and delete" $path .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rejects ServiceAccounts that Kubernetes or the chart creates, and names that are listed twice. */}}
{{- define "flokoa-environment.checkNewServiceAccounts" -}}
{{- $names := list "default" "agent-deployer" }}
{{- range .Values.serviceAccounts }}
{{- if has .name $names }}
{{- fail (printf "serviceAccounts must not contain %s, because that ServiceAccount exists or is listed twice: choose another name" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}

{{/* Rejects the account of CI: a pod that runs as it could change every Agent. */}}
{{- define "flokoa-environment.checkSecretUse" -}}
{{- if has "agent-deployer" .Values.secretUse.serviceAccounts }}
{{- fail "secretUse.serviceAccounts must not contain agent-deployer, because an Agent that runs as it could write every Agent of the namespace: list a ServiceAccount of its own" }}
{{- end }}
{{- end }}

{{/* Rejects an account that is not the operator's alone. */}}
{{- define "flokoa-environment.checkOperator" -}}
{{- if eq .Values.operator.serviceAccount "default" }}
{{- fail "operator.serviceAccount must not be default, because every pod of that namespace that names no ServiceAccount runs as it: name the operator's own ServiceAccount" }}
{{- end }}
{{- end }}
