package exchange

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// object is what one line of a cmdlet's output became.
type object struct {
	r      *reader
	path   string            // ReceiveConnectors[0]
	label  string            // receive connector Relay
	values map[string]any    // by the name in lower case
	names  map[string]string // as the dump spells them
	read   map[string]bool
}

func newObject(r *reader, path string, m map[string]any) *object {
	o := &object{r: r, path: path, label: path, values: make(map[string]any, len(m)),
		names: make(map[string]string, len(m)), read: make(map[string]bool, len(m))}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key := strings.ToLower(name)
		if _, twice := o.values[key]; twice {
			r.fault(path+"."+name, "twice, in other capitals")
		}
		o.values[key], o.names[key] = m[name], name
	}
	return o
}

// get returns a parameter that is there and not null, and remembers that it was
// asked for.
func (o *object) get(name string) (any, bool) {
	key := strings.ToLower(name)
	o.read[key] = true
	v := o.values[key]
	return v, v != nil
}

// unread returns the names of the parameters that nobody has asked for.
func (o *object) unread() []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if !o.read[key] {
			names = append(names, o.names[key])
		}
	}
	return names
}

func (o *object) fault(name, format string, args ...any) {
	o.r.fault(o.path+"."+name, format, args...)
}

// note notes something about a parameter with its value in the dump.
func (o *object) note(name, reason string) {
	v, _ := o.get(name)
	o.r.note(o.label, name, show(v), reason)
}

// wrong adds the fault of a value that is not what it should be.
func (o *object) wrong(name string, v any, want string) {
	s := oneLine(show(v))
	if strings.HasPrefix(s, "@{") || strings.HasPrefix(s, "System.") ||
		strings.HasPrefix(s, "Microsoft.Exchange.") {
		o.fault(name, "cut off by ConvertTo-Json; give it a larger -Depth")
		return
	}
	o.fault(name, "%q is not %s", s, want)
}

// text returns a parameter that is a text, or an object that has one under one
// of the names.
func (o *object) text(name string, members ...string) string {
	v, ok := o.get(name)
	if !ok {
		return ""
	}
	if m, isMap := v.(map[string]any); isMap && len(m) == 0 {
		return ""
	}
	s, ok := textOf(v, append(members, "Value")...)
	if !ok {
		o.wrong(name, v, "text")
	}
	return s
}

// flag returns a truth value, and whether there is one.
func (o *object) flag(name string) (value, ok bool) {
	v, ok := o.get(name)
	if !ok {
		return false, false
	}
	if m, isMap := v.(map[string]any); isMap && member(m, "IsPresent") != nil {
		v = member(m, "IsPresent") // what a switch is as an object
	}
	s, _ := scalar(v)
	switch strings.ToLower(s) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	o.wrong(name, v, "true or false")
	return false, false
}

func (o *object) isTrue(name string) bool {
	v, _ := o.flag(name)
	return v
}

// amount is a number that may be unlimited.
type amount struct {
	n         int64
	unlimited bool
}

// amount returns a number or a size in octets, and whether there is one.
func (o *object) amount(name string) (a amount, ok bool) {
	v, ok := o.get(name)
	if !ok {
		return amount{}, false
	}
	if a, ok = amountOf(v); !ok {
		o.wrong(name, v, "a number, a size or Unlimited")
	}
	return a, ok
}

// span returns a time span, and whether there is one.
func (o *object) span(name string) (d time.Duration, ok bool) {
	v, ok := o.get(name)
	if !ok {
		return 0, false
	}
	if d, ok = spanOf(v); !ok {
		o.wrong(name, v, "a time span such as 00:10:00")
	}
	return d, ok
}

// list returns the elements of a parameter. A list that ConvertTo-Json cut off
// is one text with spaces between the elements.
func (o *object) list(name string) []any {
	v, ok := o.get(name)
	if !ok {
		return nil
	}
	s, isText := v.(string)
	if !isText {
		return listOf(v)
	}
	var all []any
	for part := range strings.FieldsFuncSeq(s, isSeparator) {
		all = append(all, part)
	}
	return all
}

func isSeparator(r rune) bool {
	return r == ',' || r == ' ' || r == '\t' || r == '\r' || r == '\n' || r == '{' || r == '}'
}
