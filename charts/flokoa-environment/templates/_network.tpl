{{/* Network policy peer: pods of one namespace. Both selectors are in one peer, because two peers would each allow more. */}}
{{- define "flokoa-environment.peer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace | quote }}
  podSelector:
    matchLabels:
      {{- toYaml .podLabels | nindent 6 }}
{{- end }}

{{/* Port of Istio's ambient mode, to which it moves the traffic between pods of the mesh, whatever their own port is. */}}
{{- define "flokoa-environment.meshPort" -}}
{{- if eq .Values.network.mesh "ambient" }}
- {protocol: TCP, port: 15008}
{{- end }}
{{- end }}

{{/*
True for a CIDR that has addresses of metadata services: 169.254.0.0/16 or a range around it, fe80::/10, and fd00:ec2::254. A range of /8 to
/16 is a block of the second byte, which 254 is in or not.
*/}}
{{- define "flokoa-environment.linkLocal" -}}
{{- if hasPrefix "169." . }}
{{- $second := index (splitList "." .) 1 | int }}
{{- $block := index (list 256 128 64 32 16 8 4 2 1) (min 8 (sub (splitList "/" . | last | int) 8) | int) }}
{{- if eq (div $second $block) (div 254 $block) }}true{{ end }}
{{- else if regexMatch "^(fe[89ab][0-9a-f]:|fd00:0?ec2:|fd00::/(1[6-9]|20)$)" . }}true
{{- end }}
{{- end }}
