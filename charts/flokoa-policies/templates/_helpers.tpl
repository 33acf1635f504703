{{/*
Metadata of an object; takes a dict of root and name. helm.sh/resource-policy is merged last, so that no value can override it. The
annotations for Flux and Argo CD come first: a value may override them.
*/}}
{{- define "flokoa-policies.metadata" -}}
name: {{ .name }}
labels:
  {{- $labels := dict
        "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
        "app.kubernetes.io/name" .root.Chart.Name
        "app.kubernetes.io/instance" .root.Chart.Name
        "app.kubernetes.io/version" .root.Chart.AppVersion
        "app.kubernetes.io/managed-by" .root.Release.Service
        "app.kubernetes.io/part-of" "flokoa" }}
  {{- mergeOverwrite (deepCopy .root.Values.labels) $labels | toYaml | nindent 2 }}
annotations:
  {{- $keep := dict
        "kustomize.toolkit.fluxcd.io/prune" "disabled"
        "argocd.argoproj.io/sync-options" "Prune=false,Delete=false" }}
  {{- mergeOverwrite $keep (deepCopy .root.Values.annotations) (dict "helm.sh/resource-policy" "keep") | toYaml | nindent 2 }}
{{- end }}

{{/* Bindings of a policy, one per environment; takes a dict of root, name and actions. */}}
{{- define "flokoa-policies.bindings" -}}
{{- range $environment := list "dev" "staging" "production" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "flokoa-policies.metadata" (dict "root" $.root "name" (printf "%s-%s" $.name $environment)) | nindent 2 }}
spec:
  policyName: {{ $.name }}
  validationActions: [{{ get $.actions $environment }}]
  matchResources:
    namespaceSelector:
      matchLabels:
        flokoa.ai/environment: {{ $environment }}
{{- end }}
{{- end }}

{{/* Binding of a policy that applies to every namespace; takes a dict of root, name and action. */}}
{{- define "flokoa-policies.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "flokoa-policies.metadata" . | nindent 2 }}
spec:
  policyName: {{ .name }}
  validationActions: [{{ .action }}]
{{- end }}

{{/* Matches creation and update of Agents, but not of their status and scale subresources. */}}
{{- define "flokoa-policies.agents" -}}
failurePolicy: Fail
matchConstraints:
  resourceRules:
    - apiGroups: [agent.flokoa.ai]
      apiVersions: [v1alpha1]
      operations: [CREATE, UPDATE]
      resources: [agents]
      scope: Namespaced # the API server defaults it to "*", and every apply would show a diff
{{- end }}

{{/*
Variables of the policies that validate containers. With `unchanged` such a policy ignores updates that leave these fields alone: an
Agent that is older than the policy can still be suspended, scaled, deleted, and changed in every other field.
*/}}
{{- define "flokoa-policies.runs" -}}
- name: runs
  expression: object.spec.runtime.spec
- name: unchanged
  expression: >-
    oldObject != null
    && object.spec.runtime.spec.container == oldObject.spec.runtime.spec.container
    && object.spec.runtime.spec.?initContainers == oldObject.spec.runtime.spec.?initContainers
    && object.spec.runtime.spec.?sidecars == oldObject.spec.runtime.spec.?sidecars
    && object.spec.runtime.spec.?volumes == oldObject.spec.runtime.spec.?volumes
    && object.spec.?availability.?probes == oldObject.spec.?availability.?probes
- name: containers
  expression: "[variables.runs.container] + variables.runs.?initContainers.orValue([]) + variables.runs.?sidecars.orValue([])"
{{- end }}

{{/* Whether the user of a request is a Flokoa operator. */}}
{{- define "flokoa-policies.operators" -}}
{{- range $i, $account := .Values.operators }}
{{- if eq $account.name "default" }}
{{- fail (printf "operators[%d].name must not be default, because every pod of namespace %s that names no ServiceAccount runs as it: set serviceAccount.name of that operator, and list that name" $i $account.namespace) }}
{{- end }}
{{- end -}}
request.userInfo.username in [{{ range $i, $account := .Values.operators }}{{ if $i }}, {{ end }}'system:serviceaccount:{{ .namespace }}:{{ .name }}'{{ end }}]
{{- end }}
