package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

const maxBody = 64 << 10

// body is that of a POST: a form, or JSON.
type body struct {
	content []byte
	json    bool
}

// readBody reads the body of a POST that this site's own pages, or no browser,
// have made. It answers all others, and then returns nil.
func (h *handler) readBody(w http.ResponseWriter, r *http.Request) *body {
	if err := h.crossOrigin.Check(r); err != nil {
		http.Error(w, "The request comes from another site.", http.StatusForbidden)
		return nil
	}
	// what cannot be read is neither
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	b := &body{json: kind == "application/json"}
	if !b.json && kind != "application/x-www-form-urlencoded" {
		http.Error(
			w, "Content-Type must be application/x-www-form-urlencoded or application/json.",
			http.StatusUnsupportedMediaType,
		)
		return nil
	}
	var err error
	if b.content, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err == nil {
		return b
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, "The body is too large.", http.StatusRequestEntityTooLarge)
	} else {
		http.Error(w, "The body could not be read.", http.StatusBadRequest)
	}
	return nil
}

// read reads an object into v, or calls field for each field of a form.
func (b *body) read(v any, field func(name, value string) error) error {
	if b.json {
		return b.object(v)
	}
	return b.fields(field)
}

// object reads one object, and nothing behind it.
func (b *body) object(v any) error {
	d := json.NewDecoder(bytes.NewReader(b.content))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, more := d.Token(); more != io.EOF {
		return errors.New("something follows the object")
	}
	return nil
}

// fields calls f for each field of a form, which must be there once.
func (b *body) fields(f func(name, value string) error) error {
	form, err := url.ParseQuery(string(b.content))
	if err != nil {
		return err
	}
	for name, values := range form {
		if len(values) != 1 {
			return errors.New("a field is given more than once")
		}
		if err := f(name, values[0]); err != nil {
			return err
		}
	}
	return nil
}
