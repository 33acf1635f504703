// The test that OpenAI's own SDK is satisfied with the stub of a model provider, a module of its own: no dependency of the SDK may move
// a version of the operator's.
module github.com/flokoa/flokoa/ci/test/unit/openai

go 1.26.0

require (
	// OpenAI's official SDK for Go, generated from the specification of the API: no other client says as surely what agents send, and
	// which variables they read.
	github.com/openai/openai-go/v3 v3.99.0
	// As in every test of this repository.
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/tidwall/gjson v1.20.0 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.1 // indirect
	github.com/tidwall/sjson v1.2.5 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
