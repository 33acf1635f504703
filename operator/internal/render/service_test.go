package render_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flokoa/flokoa/operator/internal/render"
)

func TestServiceHasOnePortPerContainerPort(t *testing.T) {
	const selector = `selector: {flokoa.ai/agent: a}`
	spec := func(ports string, more ...string) string {
		return fieldsOf(append([]string{"ports: [" + ports + "]", "type: ClusterIP", selector}, more...)...)
	}
	check(t, serviceSpec, []row{
		{name: "no port: no Service"},
		{name: "no port, with settings of the Service", runtime: `service: {type: Headless, annotations: {a: b}}`},
		{name: "one", runtime: container(`ports: [{containerPort: 8080, name: http}]`), want: spec(`{name: http, port: 8080, targetPort: http, protocol: TCP}`)},
		{name: "unnamed", runtime: container(`ports: [{containerPort: 8080}]`), want: spec(`{name: port-0, port: 8080, targetPort: port-0, protocol: TCP}`)},
		{
			name:    "many, in the user's order",
			runtime: container(`ports: [{containerPort: 53, protocol: UDP, name: dns}, {containerPort: 53, name: dns-tcp}, {containerPort: 9, protocol: SCTP}]`),
			want:    spec(`{name: dns, port: 53, targetPort: dns, protocol: UDP}, {name: dns-tcp, port: 53, targetPort: dns-tcp, protocol: TCP}, {name: port-2, port: 9, targetPort: port-2, protocol: SCTP}`),
		},
		{name: "ClusterIP", runtime: "service: {type: ClusterIP}\n" + container(`ports: [{containerPort: 1}]`), want: spec(`{name: port-0, port: 1, targetPort: port-0, protocol: TCP}`)},
		{name: "Headless", runtime: "service: {type: Headless}\n" + container(`ports: [{containerPort: 1}]`), want: spec(`{name: port-0, port: 1, targetPort: port-0, protocol: TCP}`, `clusterIP: None`)},
		{
			name:    "appProtocol, on TCP ports only",
			runtime: "service: {appProtocol: kubernetes.io/h2c}\n" + container(`ports: [{containerPort: 1}, {containerPort: 2, protocol: UDP}, {containerPort: 3, protocol: TCP}, {containerPort: 4, protocol: SCTP}]`),
			want: spec(`{name: port-0, port: 1, targetPort: port-0, protocol: TCP, appProtocol: kubernetes.io/h2c}, {name: port-1, port: 2, targetPort: port-1, protocol: UDP},
				{name: port-2, port: 3, targetPort: port-2, protocol: TCP, appProtocol: kubernetes.io/h2c}, {name: port-3, port: 4, targetPort: port-3, protocol: SCTP}`),
		},
		{name: "ports of a sidecar stay inside the pod", runtime: `sidecars: [{name: s, image: s, ports: [{containerPort: 9}]}]`},
	})
}

func serviceSpec(_ *testing.T, children render.Children) any {
	if children.Service == nil {
		return nil
	}
	return children.Service.Spec
}

func TestServiceHasTheUsersAnnotations(t *testing.T) {
	children := rendered(t, agentOf(t, "", "service: {annotations: {note: x}}\n"+container(`ports: [{containerPort: 1}]`)))
	require.Equal(t, "x", children.Service.Annotations["note"])
	require.NotContains(t, children.Deployment.Annotations, "note")
}

func TestURLHasThePortNamedHTTPOrTheFirstTCPPort(t *testing.T) {
	for _, r := range []struct{ name, ports, want string }{
		{"no port", `[]`, ""},
		{"no TCP port", `[{containerPort: 53, protocol: UDP, name: http}]`, ""},
		{"the first", `[{containerPort: 9090}, {containerPort: 8080}]`, "http://a.default.svc:9090"},
		{"the one named http", `[{containerPort: 9090}, {containerPort: 8080, name: http}]`, "http://a.default.svc:8080"},
		{"the first TCP one", `[{containerPort: 53, protocol: UDP, name: http}, {containerPort: 8080, protocol: TCP}]`, "http://a.default.svc:8080"},
	} {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.want, render.URL(agentOf(t, "", container("ports: "+r.ports))))
		})
	}
}
