package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

func TestLogNamesObjectsInsteadOfDumpingThem(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	for name, r := range map[string]struct {
		value any
		want  any
	}{
		"an event": {&eventsv1.Event{
			Type: "Warning", Reason: "ApplyFailed", Note: "a long note",
			Regarding: corev1.ObjectReference{Kind: "Agent", Namespace: "ns", Name: "a"},
		}, "Warning ApplyFailed about Agent ns/a"},
		"another object":      {pod, "ns/p"},
		"an object reference": {klog.KObj(pod), map[string]any{"namespace": "ns", "name": "p"}},
		"a number":            {3, 3.0},
		"nil":                 {nil, nil},
		"a nil event":         {(*eventsv1.Event)(nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			logger := logr.FromSlogHandler(logHandler(Options{LogFormat: "json"}, &out))
			logger.Error(errors.New("boom"), "rejected", "what", r.value)
			line := map[string]any{}
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			require.Equal(t, "boom", line["err"])
			require.Equal(t, r.want, line["what"])
		})
	}
}

func TestALoggerEncodesItsAttributesWhenItLogs(t *testing.T) {
	var out bytes.Buffer
	handler := logHandler(Options{LogFormat: "json"}, &out)
	agent := slog.New(handler).With("agent", "ns/a")
	agent.With("reconcileID", 1).Info("first")
	agent.With("reconcileID", 2).WithGroup("child").With("kind", "Service").Info("second", "name", "a")
	agent.Debug("dropped")
	var lines []map[string]any
	for decoder := json.NewDecoder(&out); decoder.More(); {
		line := map[string]any{}
		require.NoError(t, decoder.Decode(&line))
		delete(line, slog.TimeKey)
		lines = append(lines, line)
	}
	require.Equal(t, []map[string]any{
		{"level": "INFO", "msg": "first", "agent": "ns/a", "reconcileID": 1.0},
		{"level": "INFO", "msg": "second", "agent": "ns/a", "reconcileID": 2.0, "child": map[string]any{"kind": "Service", "name": "a"}},
	}, lines)
}
