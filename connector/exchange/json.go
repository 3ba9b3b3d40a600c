package exchange

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPart bounds a part of a dump, in octets.
const maxPart = 32 << 20

// objects reads a part of a dump.
func (r *reader) objects(part string, data []byte) []*object {
	if data == nil {
		return nil
	}
	top, err := parse(data)
	if err != nil {
		r.fault(part, "%w", err)
		return nil
	}
	var all []*object
	for i, v := range listOf(top) {
		path := fmt.Sprintf("%s[%d]", part, i)
		m, ok := v.(map[string]any)
		if !ok {
			r.fault(path, "not an object; pipe what the cmdlet gives to ConvertTo-Json")
			continue
		}
		all = append(all, newObject(r, path, m))
	}
	return all
}

// parse reads one JSON document in any encoding that PowerShell writes.
func parse(data []byte) (any, error) {
	if len(data) > maxPart {
		return nil, fmt.Errorf("larger than %d MB", maxPart>>20)
	}
	text, err := decode(data)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil // ConvertTo-Json prints nothing for nothing
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := valueOf(d, 0)
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New(
			"more than one JSON document; put the output of one command into one file",
		)
	}
	return v, nil
}

// maxDepth bounds how deep values lie in one another. PowerShell's own bound is
// 100.
const maxDepth = 128

// valueOf reads the next value as [json.Decoder.Decode] does, but refuses an
// object that has a member twice: which one counts is anybody's guess.
func valueOf(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, errors.New("values lie too deep in one another")
	}
	list, members := []any{}, map[string]any{}
	for d.More() {
		name, err := any(nil), error(nil)
		if open == '{' {
			if name, err = d.Token(); err != nil {
				return nil, err
			}
		}
		v, err := valueOf(d, depth+1)
		if err != nil {
			return nil, err
		}
		key, isMember := name.(string)
		if _, twice := members[key]; twice {
			return nil, fmt.Errorf("an object has %q twice", oneLine(key))
		}
		if isMember {
			members[key] = v
		} else {
			list = append(list, v)
		}
	}
	_, err = d.Token()
	if open == '{' {
		return members, err
	}
	return list, err
}

// decode turns UTF-16 into UTF-8 and drops the byte order mark. JSON starts
// with ASCII, so that UTF-16 shows without a mark as well (RFC 4627 section 3).
func decode(data []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}):
		order, data = binary.LittleEndian, data[2:]
	case bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		order, data = binary.BigEndian, data[2:]
	case len(data) >= 2 && data[0] == 0:
		order = binary.BigEndian
	case len(data) >= 2 && data[1] == 0:
		order = binary.LittleEndian
	}
	if order == nil {
		data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
		if !utf8.Valid(data) {
			return nil, errors.New(
				"neither UTF-8 nor UTF-16; write the file with Out-File -Encoding utf8",
			)
		}
		return data, nil
	}
	if len(data)%2 != 0 {
		return nil, errors.New("UTF-16 that ends within a character")
	}
	text := make([]byte, 0, len(data))
	for i := 0; i < len(data); i += 2 {
		c := rune(order.Uint16(data[i:]))
		if utf16.IsSurrogate(c) && i+4 <= len(data) {
			if full := utf16.DecodeRune(c, rune(order.Uint16(data[i+2:]))); full != utf8.RuneError {
				c = full
				i += 2
			}
		}
		text = utf8.AppendRune(text, c)
	}
	return text, nil
}

// listOf returns the elements of a list. A list of one may be printed as its
// element, and Windows PowerShell prints some lists as an object with value and
// Count.
func listOf(v any) []any {
	switch x := v.(type) {
	case nil:
		return nil
	case []any:
		return x
	case map[string]any:
		if list, ok := x["value"].([]any); ok && len(x) == 2 {
			if _, ok := x["Count"]; ok {
				return list
			}
		}
	}
	return []any{v}
}

// member returns a member of an object, whatever the case of its name.
func member(m map[string]any, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.EqualFold(k, name) {
			return m[k]
		}
	}
	return nil
}

// textOf returns a text, or that of the first member of these names which has
// one.
func textOf(v any, members ...string) (string, bool) {
	switch x := v.(type) {
	case string:
		return strings.TrimSpace(x), true
	case map[string]any:
		for _, name := range members {
			if s, ok := textOf(member(x, name), members...); ok && s != "" {
				return s, true
			}
		}
	}
	return "", false
}

// scalar returns the text of a word, a number or a truth value. A value that
// came over a remote session may be wrapped in an object.
func scalar(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return strings.TrimSpace(x), true
	case json.Number:
		return x.String(), true
	case bool:
		return fmt.Sprint(x), true
	case map[string]any:
		if inner := member(x, "Value"); !isObject(inner) {
			return scalar(inner)
		}
	}
	return "", false
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// isNothing reports whether a value stands for nothing or for what is switched
// off.
func isNothing(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	s, _ := scalar(v)
	switch strings.ToLower(s) {
	case "", "false", "none", "0", "{}":
		return true
	}
	return false
}

// show returns a value for a note.
func show(v any) string {
	if s, ok := scalar(v); ok {
		return s
	}
	if list, ok := v.([]any); ok {
		var parts []string
		for _, item := range list {
			if len(parts) == 20 { // a note holds no more
				break
			}
			s, ok := scalar(item)
			if !ok {
				s, _ = textOf(item, "Name", "Expression", "RawIdentity")
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ", ")
	}
	if d, ok := spanOf(v); ok {
		return fmt.Sprintf(
			"%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60,
		)
	}
	s, _ := textOf(v, "Name", "Expression", "RawIdentity", "IPAddressToString", "DistinguishedName")
	return s
}
