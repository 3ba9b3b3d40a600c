package main

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern/connector"
)

// decode reads the text of a file. It reports false when that is no TOML.
func (f *faults) decode(text string) (*file, bool) {
	var (
		table map[string]any
		into  file
	)
	if _, err := toml.Decode(text, &table); err != nil {
		if e, ok := errors.AsType[toml.ParseError](err); ok {
			f.add(fmt.Sprintf("line %d", e.Position.Line), "%s", e.Message)
		} else {
			f.add("-config", "%w", err)
		}
		return nil, false
	}
	f.fill("", table, &into)
	return &into, true
}

// fill copies a TOML table into a struct. The key of a field is its name in
// snake case. The words of the relay's own types are read by their
// UnmarshalText. What is not given keeps its value; what does not fit, and
// every unknown key, is a fault.
func (f *faults) fill(path string, table map[string]any, dst any) {
	v := reflect.ValueOf(dst).Elem()
	fields := make(map[string]reflect.Value)
	for _, sf := range reflect.VisibleFields(v.Type()) {
		if sf.IsExported() && !sf.Anonymous {
			fields[snake(sf.Name)] = v.FieldByIndex(sf.Index)
		}
	}
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if field, ok := fields[key]; ok {
			f.value(path+key, table[key], field)
		} else {
			f.add(path+key, "unknown key")
		}
	}
}

func (f *faults) value(path string, src any, dst reflect.Value) {
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	switch p := dst.Addr().Interface().(type) {
	case *connector.Connector:
		f.receive(path, src, p)
		return
	case *connector.Limits:
		f.limits(path, src, p)
		return
	case *connector.Right:
		bits(f, path, src, p)
		return
	case *connector.PermissionGroup:
		bits(f, path, src, p)
		return
	case *connector.AuthMechanism:
		bits(f, path, src, p)
		return
	case *time.Duration:
		f.duration(path, src, p)
		return
	case encoding.TextUnmarshaler:
		if s, ok := src.(string); !ok {
			f.wrong(path, src, "text")
		} else if err := p.UnmarshalText([]byte(s)); err != nil {
			f.add(path, "%w", err)
		}
		return
	}
	switch x := src.(type) {
	case string:
		if dst.Kind() == reflect.String {
			dst.SetString(x)
			return
		}
	case bool:
		if dst.Kind() == reflect.Bool {
			dst.SetBool(x)
			return
		}
	case int64:
		if dst.CanInt() {
			if dst.OverflowInt(x) {
				f.add(path, "%d is too large", x)
			}
			dst.SetInt(x)
			return
		}
	case map[string]any:
		switch dst.Kind() {
		case reflect.Struct:
			f.fill(path+".", x, dst.Addr().Interface())
			return
		case reflect.Map:
			f.table(path, x, dst)
			return
		}
	default:
		if list, ok := listOf(src); ok && dst.Kind() == reflect.Slice {
			dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
			for i, item := range list {
				f.value(fmt.Sprintf("%s[%d]", path, i), item, dst.Index(i))
			}
			return
		}
	}
	f.wrong(path, src, kindName(dst.Type()))
}

// table fills a map with keys of the user's choice, such as senders.
func (f *faults) table(path string, src map[string]any, dst reflect.Value) {
	dst.Set(reflect.MakeMap(dst.Type()))
	for key, item := range src {
		v := reflect.New(dst.Type().Elem()).Elem()
		f.value(fmt.Sprintf("%s.%q", path, key), item, v)
		dst.SetMapIndex(reflect.ValueOf(key), v)
	}
}

// bits reads a list of words, or one text of them, into a bit set.
func bits[T ~uint8 | ~uint16, P interface {
	*T
	encoding.TextUnmarshaler
}](f *faults, path string, src any, dst P) {
	list, ok := listOf(src)
	if !ok {
		list = []any{src}
	}
	*dst = 0
	for i, item := range list {
		at := path
		if ok {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		var word T
		if s, isText := item.(string); !isText {
			f.wrong(at, item, "text")
		} else if err := P(&word).UnmarshalText([]byte(s)); err != nil {
			f.add(at, "%w", err)
		}
		*dst |= word
	}
}

// receive reads a receive connector. What is not given is as its usage presets
// it.
func (f *faults) receive(path string, src any, dst *connector.Connector) {
	table, ok := src.(map[string]any)
	if !ok {
		f.wrong(path, src, "a table")
		return
	}
	var usage connector.Usage
	if s, ok := table["usage"].(string); ok {
		_ = usage.UnmarshalText([]byte(s)) // fill reports what is wrong with it
	}
	*dst = *connector.New("", usage)
	f.fill(path+".", table, dst)
}

// limits reads a connector's limits. In a file a zero that was written down
// means off; in connector.Limits, where zero is the default, off is -1.
func (f *faults) limits(path string, src any, dst *connector.Limits) {
	table, ok := src.(map[string]any)
	if !ok {
		f.wrong(path, src, "a table")
		return
	}
	f.fill(path+".", table, dst)
	v := reflect.ValueOf(dst).Elem()
	for i := range v.NumField() {
		_, given := table[snake(v.Type().Field(i).Name)]
		if field := v.Field(i); given && field.CanInt() && field.Int() == 0 {
			field.SetInt(-1)
		}
	}
}

func (f *faults) duration(path string, src any, dst *time.Duration) {
	switch x := src.(type) {
	case int64:
		if *dst = time.Duration(x); x != 0 && x != -1 {
			f.add(path, `%d has no unit; write "%ds" for seconds`, x, x)
		}
	case string:
		d, err := time.ParseDuration(x)
		if err != nil {
			f.add(path, `%q is not a duration such as "30s" or "48h"`, x)
		}
		*dst = d
	default:
		f.wrong(path, src, `a duration such as "30s"`)
	}
}

func (f *faults) wrong(path string, src any, want string) {
	f.add(path, "want %s, not %s", want, kindName(reflect.TypeOf(src)))
}

func listOf(src any) ([]any, bool) {
	switch x := src.(type) {
	case []any:
		return x, true
	case []map[string]any:
		list := make([]any, len(x))
		for i := range x {
			list[i] = x[i]
		}
		return list, true
	}
	return nil, false
}

func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "a date"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a fraction"
	case t.Kind() == reflect.Slice:
		return "a list"
	}
	return "a table"
}

// snake turns the name of a Go field into a key: RemoteIPRanges is
// remote_ip_ranges. The hosts of a next hop are smart_hosts.
func snake(name string) string {
	if name == "Hosts" {
		return "smart_hosts"
	}
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
