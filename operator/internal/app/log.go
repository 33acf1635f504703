package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func logHandler(options Options, logs io.Writer) slog.Handler {
	settings := &slog.HandlerOptions{Level: options.LogLevel, ReplaceAttr: nameObjects}
	if options.LogFormat == "text" {
		return lazyHandler{Handler: slog.NewTextHandler(logs, settings)}
	}
	return lazyHandler{Handler: slog.NewJSONHandler(logs, settings)}
}

// lazyHandler encodes the attributes of a logger when it logs: each pass has a logger with its Agent, and few passes log.
type lazyHandler struct {
	slog.Handler
	attributes []slog.Attr
}

// WithAttrs keeps the attributes.
func (h lazyHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return lazyHandler{h.Handler, slices.Concat(h.attributes, attributes)}
}

// WithGroup encodes the attributes, because they are outside the group.
func (h lazyHandler) WithGroup(name string) slog.Handler {
	return lazyHandler{Handler: h.encoded().WithGroup(name)}
}

// Handle encodes the attributes and the record.
func (h lazyHandler) Handle(ctx context.Context, record slog.Record) error {
	return h.encoded().Handle(ctx, record)
}

func (h lazyHandler) encoded() slog.Handler {
	if len(h.attributes) == 0 {
		return h.Handler
	}
	return h.Handler.WithAttrs(h.attributes)
}

// nameObjects logs the name of an object where a library would log all of it: client-go logs every Event that the API server
// rejects.
func nameObjects(_ []string, attribute slog.Attr) slog.Attr {
	value := attribute.Value.Any()
	if pointer := reflect.ValueOf(value); pointer.Kind() == reflect.Pointer && pointer.IsNil() {
		return attribute
	}
	switch object := value.(type) {
	case *eventsv1.Event:
		about := object.Regarding
		attribute.Value = slog.StringValue(fmt.Sprintf("%s %s about %s %s/%s", object.Type, object.Reason, about.Kind, about.Namespace, about.Name))
	case metav1.Object:
		attribute.Value = slog.StringValue(object.GetNamespace() + "/" + object.GetName())
	}
	return attribute
}
