package httpapi_test

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/httpapi"
)

// document fetches /openapi.json.
func document(t *testing.T) map[string]any {
	t.Helper()
	w := newWorld(t, nil)
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, request("GET", "/openapi.json", "", "Authorization", ""))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", rec.Code, rec.Header())
	}
	var doc map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at follows a path of names.
func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok || m[p] == nil {
			t.Fatalf("the document has no %v", path)
		}
		v = m[p]
	}
	return v
}

func object(t *testing.T, v any, path ...string) map[string]any {
	t.Helper()
	m, ok := at(t, v, path...).(map[string]any)
	if !ok {
		t.Fatalf("%v is no object", path)
	}
	return m
}

// TestDocument holds the document to OpenAPI 3.1: what must be there is, every
// reference leads somewhere, and every type is one of JSON Schema.
func TestDocument(t *testing.T) {
	t.Parallel()
	doc := document(t)
	if doc["openapi"] != "3.1.0" || at(t, doc, "info", "title") == "" ||
		at(t, doc, "info", "version") == "" {
		t.Error("openapi, info.title and info.version are required")
	}
	types := []string{"object", "array", "string", "integer"}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				at(t, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
			if kind, ok := v["type"].(string); ok && !strings.Contains(path, "securitySchemes") &&
				!slices.Contains(types, kind) {
				t.Errorf("%s: type %q", path, kind)
			}
			if v["type"] == "array" && v["items"] == nil {
				t.Errorf("%s: an array without items", path)
			}
			for k, e := range v {
				walk(path+"/"+k, e)
			}
		case []any:
			for i, e := range v {
				walk(path+"/"+strconv.Itoa(i), e)
			}
		}
	}
	walk("", doc)
	seen := map[string]bool{}
	for path, item := range object(t, doc, "paths") {
		for method, op := range item.(map[string]any) {
			id, _ := at(t, op, "operationId").(string)
			if id == "" || seen[id] {
				t.Errorf("%s %s: operationId %q", method, path, id)
			}
			seen[id] = true
			for status, r := range object(t, op, "responses") {
				if at(t, r, "description") == "" {
					t.Errorf("%s %s %s has no description", method, path, status)
				}
			}
		}
	}
}

// TestDocumentMatches holds the document to the handler: fields, limits,
// statuses and parameters.
func TestDocumentMatches(t *testing.T) {
	t.Parallel()
	doc := document(t)
	all, required := httpapi.Fields()
	required["Message"], required["Attachment"] = []string{"from"}, nil
	schemas := object(t, doc, "components", "schemas")
	if got, want := slices.Sorted(
		maps.Keys(schemas),
	), slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("schemas %v, want %v", got, want)
	}
	for name, schema := range schemas {
		fields := slices.Sorted(maps.Keys(object(t, schema, "properties")))
		slices.Sort(all[name])
		if !slices.Equal(fields, all[name]) {
			t.Errorf("%s: fields %v, want %v", name, fields, all[name])
		}
		var must []string
		list, _ := schema.(map[string]any)["required"].([]any)
		for _, f := range list {
			must = append(must, f.(string))
		}
		slices.Sort(must)
		slices.Sort(required[name])
		if !slices.Equal(must, required[name]) {
			t.Errorf("%s: required %v, want %v", name, must, required[name])
		}
	}
	for path, want := range httpapi.Limits {
		p := strings.Split(path, ".")
		if got := at(t, schemas, p[0], "properties", p[1], p[2]); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}

	post := object(t, doc, "paths", "/messages", "post")
	statuses := map[string]bool{"202": true}
	for _, c := range refusals() {
		if c.request.URL.Path == "/messages" && c.request.Method == "POST" {
			statuses[strconv.Itoa(c.status)] = true
		}
	}
	if got, want := slices.Sorted(
		maps.Keys(object(t, post, "responses")),
	), slices.Sorted(maps.Keys(statuses)); !slices.Equal(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}

	w := newWorld(t, nil)
	example := at(t, post, "requestBody", "content", "application/json", "example").(map[string]any)
	example["from"] = "app@example.com"
	body, _ := json.Marshal(example)
	if a := w.do(request("POST", "/messages", string(body))); a.Status != 202 {
		t.Errorf("the example: %d %s", a.Status, a.Body)
	}
	values := map[string]string{
		"from": "app@example.com", "to": "bob@example.net", "envelope_id": "x", "return": "FULL",
		"notify": "NEVER", "label": "a:b", "stream": "news",
		"not_before": time.Now().Add(time.Hour).Format(time.RFC3339),
		"expires":    time.Now().Add(2 * time.Hour).Format(time.RFC3339),
	}
	query := url.Values{}
	for _, p := range at(t, post, "parameters").([]any) {
		if name := at(t, p, "name").(string); at(t, p, "in") == "query" {
			if values[name] == "" {
				t.Errorf("parameter %s is not tested", name)
			}
			query.Set(name, values[name])
		}
	}
	if len(query) != len(values) {
		t.Errorf("parameters %v, want %v", query, values)
	}
	if a := w.do(raw(query.Encode(), letter)); a.Status != 202 {
		t.Errorf("all parameters: %d %s", a.Status, a.Body)
	}
}

// TestDocumentSchemes: each way to log on that the document has is taken and
// asked for, and there are no others.
func TestDocumentSchemes(t *testing.T) {
	t.Parallel()
	doc := document(t)
	w := newWorld(t, withTokens)
	credentials := map[string]string{"basic": "YXBwOnNlY3JldA==", "bearer": "tok-good"}
	schemes := object(t, doc, "components", "securitySchemes")
	var documented, asked, required []string
	for name, s := range schemes {
		scheme := at(t, s, "scheme").(string)
		documented = append(documented, scheme)
		if at(t, s, "type") != "http" {
			t.Errorf("%s is not of HTTP", name)
		}
		if a := w.do(
			post(simple, "Authorization", scheme+" "+credentials[scheme]),
		); a.Status != 202 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	for _, challenge := range w.do(
		post(simple, "Authorization", ""),
	).Header.Values("WWW-Authenticate") {
		scheme, _, _ := strings.Cut(challenge, " ")
		asked = append(asked, strings.ToLower(scheme))
	}
	for _, r := range doc["security"].([]any) {
		for name := range r.(map[string]any) {
			required = append(required, at(t, schemes, name, "scheme").(string))
		}
	}
	slices.Sort(documented)
	slices.Sort(asked)
	slices.Sort(required)
	if !slices.Equal(asked, documented) || !slices.Equal(required, documented) {
		t.Errorf("document %v, operations %v, challenges %v", documented, required, asked)
	}
}
