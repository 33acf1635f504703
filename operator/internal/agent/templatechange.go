package agent

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

// reasonTemplateChanged is the reason of the Event about a field manager that changes a Deployment's pod template instead of the Agent.
const reasonTemplateChanged = "PodTemplateChanged"

// templateEventInterval is how often that Event repeats while the same field manager changes the pod template again and again.
const templateEventInterval = time.Minute

// templateReport is the last Event about a change of the pod template.
type templateReport struct {
	managers string
	at       time.Time
}

// warnTemplateChange records an Event about a change of the pod template that this pass reverted, if there was one.
func (c *Controller) warnTemplateChange(agent *v1alpha1.Agent, changedBy []string, state *state) {
	report := templateReport{strings.Join(changedBy, ", "), c.now()}
	last := state.templateReported
	if len(changedBy) == 0 || report.managers == last.managers && report.at.Sub(last.at) < templateEventInterval {
		return
	}
	state.templateReported = report
	c.record(agent, corev1.EventTypeWarning, reasonTemplateChanged,
		"%s changed the pod template of Deployment %q, and the operator restored it: to change or roll back the pods, change the Agent, for example with kubectl edit agent %s",
		report.managers, agent.Name, agent.Name)
}
