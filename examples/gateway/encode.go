package main

import (
	"bytes"
	"crypto/x509"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern/connector"
)

// encode writes the file as TOML that decode reads again. What is as decode
// presets it is left out. Passwords and authorities are not written: the file
// names other files for them.
func (f *file) encode(w io.Writer) error {
	var e encoder
	e.table("", reflect.ValueOf(*f), reflect.ValueOf(file{}))
	if e.err != nil {
		return e.err
	}
	_, err := w.Write(bytes.TrimLeft(e.out.Bytes(), "\n"))
	return err
}

type encoder struct {
	out bytes.Buffer
	err error
}

// table writes the fields of a struct that differ from preset: keys first, then
// tables.
func (e *encoder) table(path string, v, preset reflect.Value) {
	var tables []func()
	for _, sf := range reflect.VisibleFields(v.Type()) {
		field, def := v.FieldByIndex(sf.Index), preset.FieldByIndex(sf.Index)
		if sf.Anonymous || sf.Name == "Password" || sf.Type == reflect.TypeFor[*x509.CertPool]() ||
			sf.Type == reflect.TypeFor[connector.TokenSource]() ||
			reflect.DeepEqual(field.Interface(), def.Interface()) {
			continue
		}
		if v.Type() == reflect.TypeFor[connector.Limits]() && field.CanInt() && field.IsZero() {
			continue // the default, while a zero in a file is off
		}
		key := snake(sf.Name)
		if value, ok := e.value(field); ok {
			e.key(key, value)
		} else {
			tables = append(tables, func() { e.tables(path+key, field, def) })
		}
	}
	for _, write := range tables {
		write()
	}
}

// tables writes what has a heading of its own.
func (e *encoder) tables(path string, v, preset reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		for _, item := range items(v) {
			item, preset := withPreset(reflect.Indirect(item))
			fmt.Fprintf(&e.out, "\n[[%s]]\n", path)
			e.table(path+".", item, preset)
		}
		return
	case reflect.Map:
		fmt.Fprintf(&e.out, "\n[%s]\n", path)
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), compareKeys) {
			value, _ := e.value(v.MapIndex(key))
			e.key(key.String(), value)
		}
		return
	case reflect.Pointer:
		v, preset = v.Elem(), reflect.Zero(v.Type().Elem())
	}
	fmt.Fprintf(&e.out, "\n[%s]\n", path)
	e.table(path+".", v, preset)
}

func compareKeys(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }

// withPreset returns an item of a list and what decode begins with for it.
func withPreset(item reflect.Value) (of, preset reflect.Value) {
	c, ok := item.Interface().(connector.Connector)
	if !ok {
		return item, reflect.Zero(item.Type())
	}
	start := *connector.New("", c.Usage)
	start.Usage = connector.Custom                                  // what stands for none
	if c.Limits.MessageRate == 0 && start.Limits.MessageRate != 0 { // which is its default
		c.Limits.MessageRate = start.Limits.MessageRate
		c.Limits.MessageRateBy = start.Limits.MessageRateBy
	}
	return reflect.ValueOf(c), reflect.ValueOf(start)
}

// value returns a value as TOML has it on one line. It reports false for one
// that needs tables.
func (e *encoder) value(v reflect.Value) (any, bool) {
	switch x := v.Interface().(type) {
	case connector.Right, connector.PermissionGroup, connector.AuthMechanism:
		if v.IsZero() {
			return []string{}, true
		}
		return strings.Split(fmt.Sprint(x), ", "), true
	case time.Duration:
		return max(x, 0).String(), true // less than nothing is off, which a file has as 0s
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil && e.err == nil {
			e.err = err
		}
		return string(text), true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return v.Interface(), true
	case reflect.Slice:
		list := []any{}
		for _, item := range items(v) {
			value, ok := e.value(item)
			if !ok {
				return nil, false
			}
			list = append(list, value)
		}
		return list, true
	}
	return nil, false
}

// key writes a key and its value.
func (e *encoder) key(key string, value any) {
	enc := toml.NewEncoder(&e.out)
	enc.Indent = ""
	if err := enc.Encode(map[string]any{key: value}); err != nil && e.err == nil {
		e.err = err
	}
}

func items(v reflect.Value) []reflect.Value {
	list := make([]reflect.Value, v.Len())
	for i := range list {
		list[i] = v.Index(i)
	}
	return list
}
