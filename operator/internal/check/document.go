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

// document is a document of a file that is not empty.
type document struct {
	location Location
	// value is the content as JSON data, with numbers as they were written; nil with an err.
	value any
	// duplicates returns a sentence for each duplicate field.
	duplicates func() []string
	err        error
}

// documents splits a file as kubectl does, so that an error in one document does not hide the others. Documents count from 1;
// those with nothing but comments do not count.
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

// chunk is the text between two --- separators.
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
	taken, lines := 0, 0 // how much of the data the reader has consumed
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		// The reader does not report its position, so it follows from the rest.
		end := len(data) - source.Len() - buffer.Buffered()
		read := bytes.TrimSuffix(data[taken:end], []byte("\n"))
		taken, lines = end, lines+1+bytes.Count(read, []byte("\n"))
		first := lines - bytes.Count(text, []byte("\n"))
		if lastLine := read[bytes.LastIndexByte(read, '\n')+1:]; !bytes.HasPrefix(lastLine, []byte("---")) {
			first++ // the text ends with the data, not with a separator
		}
		if bytes.HasPrefix(text, []byte("---")) { // the reader returns the first of two separators in a row as text
			_, text, _ = bytes.Cut(text, []byte("\n"))
			first++
		}
		chunks = append(chunks, chunk{text: text, line: first, err: err})
	}
}

// documents returns the documents of a chunk: one of YAML, or any number of JSON objects in a row.
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
	return []document{{location: Location{Line: c.line}, value: value, duplicates: c.duplicates, err: err}}
}

// jsonStream returns nil if the chunk does not start with a JSON object. It is then a YAML flow mapping, or the YAML reader has a
// better error.
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
		all = append(all, document{location: Location{Line: line}, value: value, err: err, duplicates: func() []string { return duplicates(raw) }})
	}
}

// duplicates returns an error for each duplicate field of a JSON object.
func duplicates(raw []byte) []string {
	var sentences []string
	fields, _ := kjson.UnmarshalStrict(raw, new(any), kjson.DisallowDuplicateFields)
	for _, field := range fields {
		sentences = append(sentences, field.Error())
	}
	return sentences
}

// documentEnd matches the line that ends a document without starting another.
var documentEnd = regexp.MustCompile(`(?m)^\.\.\.([ \t].*)?$`)

// yaml decodes the chunk as one document.
func (c chunk) yaml() (any, error) {
	raw, err := yaml.YAMLToJSON(c.text)
	if err != nil {
		return nil, c.explained(err)
	}
	if end := documentEnd.FindIndex(c.text); end != nil {
		if rest, err := yaml.YAMLToJSON(c.text[end[1]:]); err != nil || string(rest) != "null" {
			return nil, errors.New(`nothing after the line "..." is read: separate documents with ---`)
		}
	}
	return jsonData(raw)
}

// duplicates returns an error for each duplicate field of a YAML document. The strict mode of the other reader would also reject a
// field that overrides a merged one (<<).
func (c chunk) duplicates() []string {
	var typeError *yamlv3.TypeError
	if err := yamlv3.Unmarshal(c.text, new(any)); !errors.As(err, &typeError) {
		return nil
	}
	var sentences []string
	for _, message := range typeError.Errors {
		sentences = append(sentences, c.inFile(message))
	}
	return sentences
}

// explained returns an error of the YAML reader on one line, with a hint for a Helm template.
func (c chunk) explained(err error) error {
	text := c.inFile(strings.Join(strings.Fields(err.Error()), " "))
	if bytes.Contains(c.text, []byte("{{")) {
		return fmt.Errorf("%s: %s", text, unrenderedTemplate)
	}
	return errors.New(text)
}

// unrenderedTemplate is the hint for Helm's braces where no manifest has them.
const unrenderedTemplate = "this looks like a Helm template that was not rendered: pipe in the output of helm template with -f -"

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// inFile converts line numbers of the chunk to those of the file.
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
