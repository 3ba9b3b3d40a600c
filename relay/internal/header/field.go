package header

import "bytes"

// Field is one field of a header section. It is a view: it stays valid as
// long as [Header.Fields] says.
type Field struct {
	raw  []byte
	name int
}

// Raw returns the field as it stands, folding and line end included.
func (f Field) Raw() []byte { return f.raw }

// Name returns the name as it is written, or nothing for a line that is no
// field.
func (f Field) Name() []byte { return f.raw[:f.name] }

// Is reports whether the field has that name, without regard to case. A line
// that is no field has none.
func (f Field) Is(name string) bool {
	return f.name == len(name) && f.name > 0 && hasPrefixFold(f.raw, name)
}

// HasPrefix reports whether the line begins with prefix, without regard to
// case. It looks at lines that are no field too, so that a name cannot hide
// behind an octet that makes it malformed.
func (f Field) HasPrefix(prefix string) bool { return hasPrefixFold(f.raw, prefix) }

// RawValue returns what follows the colon, folding and line end included. A
// line that is no field is all value.
func (f Field) RawValue() []byte {
	if f.name == 0 {
		return f.raw
	}
	return f.raw[f.name+bytes.IndexByte(f.raw[f.name:], ':')+1:]
}

// Value returns the value without its line ends and without white space around
// it (RFC 5322 section 2.2.3).
func (f Field) Value() string {
	v := bytes.Trim(f.RawValue(), " \t\r\n")
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	flat := make([]byte, 0, len(v))
	for i, c := range v {
		if c == '\n' || c == '\r' && i+1 < len(v) && v[i+1] == '\n' {
			continue
		}
		flat = append(flat, c)
	}
	return string(flat)
}

// hasPrefixFold folds the case of ASCII letters only.
func hasPrefixFold(b []byte, prefix string) bool {
	if len(b) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(b[i]) != lower(prefix[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
