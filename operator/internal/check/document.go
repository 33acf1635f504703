package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// document is one of a file's that holds something.
type document struct {
	location Location
	// value is what it holds, as JSON data with numbers as they were written; nil when err says why not.
	value any
	// repeated finds the fields that are given twice, in sentences.
	repeated func() []string
	err      error
}

// documents splits a file as kubectl does, so that an error in one document leaves the others to be evaluated. Documents are
// counted from 1, without those that hold nothing but comments.
func documents(file string, data []byte) []document {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return []document{{location: Location{File: file}, err: errors.New("this is UTF-16: save it as UTF-8")}}
	}
	var all []document
	for _, chunk := range split(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		for _, document := range chunk.documents() {
			document.location.File, document.location.Document = file, len(all)+1
			all = append(all, document)
		}
	}
	return all
}

// chunk is the text between two lines of ---.
type chunk struct {
	text []byte
	line int // of its first line in the file, from 1
	err  error
}

func split(data []byte) []chunk {
	var chunks []chunk
	source := bytes.NewReader(data)
	buffer := bufio.NewReader(source)
	reader := utilyaml.NewYAMLReader(buffer)
	taken, lines := 0, 0 // how much of the data the reader has gone through
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		// The reader does not tell where it is; what it has not read yet does.
		end := len(data) - source.Len() - buffer.Buffered()
		read := bytes.TrimSuffix(data[taken:end], []byte("\n"))
		taken, lines = end, lines+1+bytes.Count(read, []byte("\n"))
		first := lines - bytes.Count(text, []byte("\n"))
		if lastLine := read[bytes.LastIndexByte(read, '\n')+1:]; !bytes.HasPrefix(lastLine, []byte("---")) {
			first++ // the data ended, not a separator the text
		}
		if bytes.HasPrefix(text, []byte("---")) { // the first of two separators in a row is taken for text
			_, text, _ = bytes.Cut(text, []byte("\n"))
			first++
		}
		chunks = append(chunks, chunk{text: text, line: first, err: err})
	}
}

// documents are what a chunk holds: one document of YAML, or any number of JSON objects in a row.
func (c chunk) documents() []document {
	if c.err != nil {
		return []document{{location: Location{Line: c.line}, err: c.err}}
	}
	if bytes.HasPrefix(bytes.TrimSpace(c.text), []byte("{")) {
		if stream := c.jsonStream(); stream != nil {
			return stream
		}
	}
	value, err := c.yaml()
	if value == nil && err == nil {
		return nil
	}
	return []document{{location: Location{Line: c.line}, value: value, repeated: c.repeated, err: err}}
}

// jsonStream is nil when the chunk does not begin with a JSON object: then it is a flow mapping of YAML, or an error that
// the YAML reader words better.
func (c chunk) jsonStream() []document {
	var all []document
	decoder := json.NewDecoder(bytes.NewReader(c.text))
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) || err != nil && len(all) == 0 {
			return all
		}
		rest := c.text[int(decoder.InputOffset())-len(raw):]
		line := c.line + bytes.Count(c.text[:len(c.text)-len(bytes.TrimLeft(rest, " \t\r\n"))], []byte("\n"))
		if err != nil {
			return append(all, document{location: Location{Line: line}, err: err})
		}
		value, err := jsonData(raw)
		all = append(all, document{location: Location{Line: line}, value: value, err: err, repeated: func() []string { return repeated(raw) }})
	}
}

// repeated are the fields that a JSON object gives twice.
func repeated(raw []byte) []string {
	var sentences []string
	fields, _ := kjson.UnmarshalStrict(raw, new(any), kjson.DisallowDuplicateFields)
	for _, field := range fields {
		sentences = append(sentences, field.Error())
	}
	return sentences
}

// ended finds the line that ends a document without beginning another.
var ended = regexp.MustCompile(`(?m)^\.\.\.([ \t].*)?$`)

// yaml reads the chunk as one document.
func (c chunk) yaml() (any, error) {
	raw, err := yaml.YAMLToJSON(c.text)
	if err != nil {
		return nil, c.explained(err)
	}
	if end := ended.FindIndex(c.text); end != nil {
		if rest, err := yaml.YAMLToJSON(c.text[end[1]:]); err != nil || string(rest) != "null" {
			return nil, errors.New(`what follows the line "..." is read by nobody: separate documents with ---`)
		}
	}
	return jsonData(raw)
}

// repeated are the fields that a document of YAML gives twice. The strict form of the other reader would take a field that
// overrides a merged one (<<) for such a repetition.
func (c chunk) repeated() []string {
	var complaints *yamlv3.TypeError
	if err := yamlv3.Unmarshal(c.text, new(any)); !errors.As(err, &complaints) {
		return nil
	}
	var sentences []string
	for _, complaint := range complaints.Errors {
		sentences = append(sentences, c.inFile(complaint))
	}
	return sentences
}

// explained is what the YAML reader complains about, in one line, with what to do where that can be guessed.
func (c chunk) explained(err error) error {
	text := c.inFile(strings.Join(strings.Fields(err.Error()), " "))
	if bytes.Contains(c.text, []byte("{{")) {
		return fmt.Errorf("%s: %s", text, unrenderedTemplate)
	}
	return errors.New(text)
}

// unrenderedTemplate is said of what has Helm's braces where no manifest has them.
const unrenderedTemplate = "this looks like a Helm template that was not rendered: pipe in what helm template prints, with -f -"

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// inFile makes line numbers of the chunk those of the file.
func (c chunk) inFile(text string) string {
	return lineNumber.ReplaceAllStringFunc(text, func(match string) string {
		n, err := strconv.Atoi(strings.TrimPrefix(match, "line "))
		if err != nil {
			return match
		}
		return fmt.Sprintf("line %d", n+c.line-1)
	})
}

func jsonData(raw []byte) (any, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return value, nil
}
