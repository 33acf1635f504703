package render_test

import (
	"testing"

	"github.com/flokoa/flokoa/operator/internal/render"
)

func TestPodsAreSpreadOverHostsAndZones(t *testing.T) {
	const (
		softHosts = `{topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1, labelSelector: {matchLabels: {flokoa.ai/agent: a}}, matchLabelKeys: [pod-template-hash], nodeAffinityPolicy: Honor, nodeTaintsPolicy: Honor}`
		hardHosts = `{topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, maxSkew: 1, labelSelector: {matchLabels: {flokoa.ai/agent: a}}, matchLabelKeys: [pod-template-hash], nodeAffinityPolicy: Honor, nodeTaintsPolicy: Honor}`
		softZones = `{topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1, labelSelector: {matchLabels: {flokoa.ai/agent: a}}, matchLabelKeys: [pod-template-hash], nodeAffinityPolicy: Honor, nodeTaintsPolicy: Honor}`
	)
	const selected = `labelSelector: {matchLabels: {flokoa.ai/agent: a}}`
	spread := func(constraints ...string) string { return list("topologySpreadConstraints", constraints...) }
	own := func(key, action, more string) string {
		return fieldsOf("topologyKey: "+key, "whenUnsatisfiable: "+action, "maxSkew: 3", more)
	}
	var (
		ownHosts     = own("kubernetes.io/hostname", "ScheduleAnyway", selected)
		ownHardHosts = own("kubernetes.io/hostname", "DoNotSchedule", selected)
		ownZones     = own("topology.kubernetes.io/zone", "ScheduleAnyway", selected)
		ownHardZones = own("topology.kubernetes.io/zone", "DoNotSchedule", `labelSelector: {matchExpressions: [{key: app.kubernetes.io/part-of, operator: In, values: [flokoa]}]}`)
		hardForeign  = own("kubernetes.io/hostname", "DoNotSchedule", `labelSelector: {matchLabels: {app: other}}`)
		softForeign  = own("kubernetes.io/hostname", "ScheduleAnyway", `labelSelector: {matchLabels: {app: other}}`)
		hashed       = own("kubernetes.io/hostname", "DoNotSchedule", `labelSelector: {matchExpressions: [{key: pod-template-hash, operator: Exists}]}`)
		excluding    = own("kubernetes.io/hostname", "DoNotSchedule", `labelSelector: {matchExpressions: [{key: flokoa.ai/agent, operator: NotIn, values: [a]}]}`)
		perRevision  = own("kubernetes.io/hostname", "ScheduleAnyway", selected+", matchLabelKeys: [pod-template-hash]")
		unselective  = own("kubernetes.io/hostname", "DoNotSchedule", `minDomains: 2`)
		softNothing  = own("kubernetes.io/hostname", "ScheduleAnyway", "")
		racks        = own("example.com/rack", "DoNotSchedule", selected)
	)
	check(t, inPod("topologySpreadConstraints"), []row{
		{name: "soft by default", want: spread(softHosts, softZones)},
		{name: "Preferred", availability: `spread: Preferred`, want: spread(softHosts, softZones)},
		{name: "Required is hard over hosts only", availability: `spread: Required`, want: spread(hardHosts, softZones)},
		{name: "None", availability: `spread: None`},
		{name: "None, own constraint", availability: `spread: None`, runtime: spread(racks), want: spread(racks)},
		{name: "own constraint over hosts", runtime: spread(ownHosts), want: spread(ownHosts, softZones)},
		{name: "own constraint over zones", runtime: spread(ownZones), want: spread(ownZones, softHosts)},
		{name: "own constraints over both", runtime: spread(ownZones, ownHosts), want: spread(ownZones, ownHosts)},
		{name: "own hard constraints over both", runtime: spread(ownHardHosts, ownHardZones), want: spread(ownHardHosts, ownHardZones)},
		{name: "own constraint over something else", runtime: spread(racks), want: spread(racks, softHosts, softZones)},
		{name: "own hard constraint of other pods", runtime: spread(hardForeign), want: spread(hardForeign, softHosts, softZones)},
		{name: "own soft constraint of other pods with the key and action of the default one, which the list allows once", runtime: spread(softForeign), want: spread(softForeign, softZones)},
		{name: "own hard constraint that selects nothing", runtime: spread(unselective), want: spread(unselective, softHosts, softZones)},
		{name: "own soft constraint that selects nothing", runtime: spread(softNothing), want: spread(softNothing, softZones)},
		{name: "own hard constraint of other pods, by expression", runtime: spread(excluding), want: spread(excluding, softHosts, softZones)},
		{name: "own hard constraint of every revision", runtime: spread(hashed), want: spread(hashed, softZones)},
		{name: "own constraint of one revision", runtime: spread(perRevision), want: spread(perRevision, softZones)},
		{name: "Required, own soft constraint", availability: `spread: Required`, runtime: spread(ownHosts), want: spread(ownHosts, hardHosts, softZones)},
		{name: "Required, own hard constraint", availability: `spread: Required`, runtime: spread(ownHardHosts), want: spread(ownHardHosts, softZones)},
		{name: "Required, own hard constraint of other pods with the key and action of the default one", availability: `spread: Required`, runtime: spread(hardForeign), want: spread(hardForeign, softZones)},
		{name: "own label selected", runtime: "podMetadata: {labels: {team: x}}\n" + spread(own("kubernetes.io/hostname", "DoNotSchedule", `labelSelector: {matchLabels: {team: x}}`)), want: spread(own("kubernetes.io/hostname", "DoNotSchedule", `labelSelector: {matchLabels: {team: x}}`), softZones)},
	})
}

func TestUserAntiAffinityReplacesTheDefaultConstraint(t *testing.T) {
	const (
		hosts    = `topologyKey: kubernetes.io/hostname`
		zones    = `topologyKey: topology.kubernetes.io/zone`
		selected = `labelSelector: {matchLabels: {flokoa.ai/agent: a}}`
		other    = `labelSelector: {matchLabels: {app: other}}`

		softHosts = `kubernetes.io/hostname ScheduleAnyway`
		hardHosts = `kubernetes.io/hostname DoNotSchedule`
		softZones = `topology.kubernetes.io/zone ScheduleAnyway`
		both      = softHosts + ", " + softZones
	)
	rows := []struct{ name, spread, affinity, want string }{
		{"preferred over hosts", "", preferred(fieldsOf(hosts, selected)), softZones},
		{"preferred over zones", "", preferred(fieldsOf(zones, selected)), softHosts},
		{"preferred over both, stacked as in the guide", "", preferred(fieldsOf(hosts, selected), fieldsOf(zones, selected)), ""},
		{"required over hosts", "", required(fieldsOf(hosts, selected)), softZones},
		{"required over both", "", required(fieldsOf(hosts, selected), fieldsOf(zones, selected)), ""},
		{"preferred of other pods", "", preferred(fieldsOf(hosts, other)), both},
		{"required of other pods", "", required(fieldsOf(hosts, other)), both},
		{"no selector, which selects nothing", "", preferred(fieldsOf(hosts)), both},
		{"an empty selector, which selects all", "", preferred(fieldsOf(hosts, `labelSelector: {}`)), softZones},
		{"a selector that the API server rejects", "", preferred(fieldsOf(hosts, `labelSelector: {matchExpressions: [{key: k, operator: Near}]}`)), both},
		{"of this namespace by name", "", required(fieldsOf(hosts, selected, "namespaces: [default]")), softZones},
		{"of every namespace", "", required(fieldsOf(hosts, selected, "namespaceSelector: {}")), softZones},
		{"of another namespace", "", required(fieldsOf(hosts, selected, "namespaces: [other]")), both},
		{"of some namespaces by label", "", required(fieldsOf(hosts, selected, "namespaceSelector: {matchLabels: {team: x}}")), both},
		{"of this namespace by its name label", "", required(fieldsOf(hosts, selected, "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}")), softZones},
		{"of another namespace by its name label", "", required(fieldsOf(hosts, selected, "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}")), both},
		{"of some namespaces by the lack of a label", "", required(fieldsOf(hosts, selected, "namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}")), both},
		{"of this namespace by name, and of others by label", "", required(fieldsOf(hosts, selected, "namespaces: [default]", "namespaceSelector: {matchLabels: {team: x}}")), softZones},
		{"of the same revision", "", required(fieldsOf(hosts, selected, "matchLabelKeys: [pod-template-hash]")), softZones},
		{"of other revisions", "", required(fieldsOf(hosts, selected, "mismatchLabelKeys: [pod-template-hash]")), both},
		{"of pods that differ in a label that these lack", "", required(fieldsOf(hosts, selected, "mismatchLabelKeys: [tenant]")), softZones},
		{"of pods that differ in a label", "", required(fieldsOf(hosts, selected, "mismatchLabelKeys: [flokoa.ai/agent]")), both},
		{"over something else", "", required(fieldsOf(`topologyKey: example.com/rack`, selected)), both},
		{"Required, preferred over both", "Required", preferred(fieldsOf(hosts, selected), fieldsOf(zones, selected)), hardHosts},
		{"Required, required over hosts", "Required", required(fieldsOf(hosts, selected)), softZones},
		{"node affinity spreads nothing", "", `nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}]}}`, both},
		{"pod affinity spreads nothing", "", `podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [` + fieldsOf(hosts, selected) + `]}`, both},
	}
	for _, r := range rows {
		check(t, constraints, []row{{
			name:         r.name,
			availability: fieldsOf("spread: " + r.spread),
			runtime:      "affinity: " + fieldsOf(r.affinity),
			want:         "[" + r.want + "]",
		}})
	}
}

func preferred(terms ...string) string {
	weighted := make([]string, len(terms))
	for i, term := range terms {
		weighted[i] = fieldsOf("weight: 1", "podAffinityTerm: "+term)
	}
	return "podAntiAffinity: " + fieldsOf(list("preferredDuringSchedulingIgnoredDuringExecution", weighted...))
}

func required(terms ...string) string {
	return "podAntiAffinity: " + fieldsOf(list("requiredDuringSchedulingIgnoredDuringExecution", terms...))
}

// constraints returns the pod's spread constraints as topology and action.
func constraints(_ *testing.T, children render.Children) any {
	var all []string
	for _, c := range podOf(children).TopologySpreadConstraints {
		all = append(all, *c.TopologyKey+" "+string(*c.WhenUnsatisfiable))
	}
	return all
}
