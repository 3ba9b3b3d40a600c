package connector

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// word is a name of a value. Where a value has several names, the first is
// printed.
type word[T ~uint8 | ~uint16] struct {
	name  string
	value T
}

func nameOf[T ~uint8 | ~uint16](x T, words []word[T]) (string, bool) {
	for _, w := range words {
		if w.value == x {
			return w.name, true
		}
	}
	return "", false
}

// formatOne prints the value of an enumeration.
func formatOne[T ~uint8 | ~uint16](kind string, x T, words []word[T]) string {
	if name, ok := nameOf(x, words); ok {
		return name
	}
	return kind + "(" + strconv.Itoa(int(x)) + ")"
}

func marshalOne[T ~uint8 | ~uint16](kind string, x T, words []word[T]) ([]byte, error) {
	if name, ok := nameOf(x, words); ok {
		return []byte(name), nil
	}
	return nil, fmt.Errorf("connector: %d is no %s", x, kind)
}

func parseOne[T ~uint8 | ~uint16](kind, s string, words []word[T]) (T, error) {
	s = strings.TrimSpace(s)
	for _, w := range words {
		if strings.EqualFold(w.name, s) {
			return w.value, nil
		}
	}
	return 0, unknownWord(kind, s, words)
}

// formatSet prints a bit set, comma separated. Bits without a name are printed
// as a number.
func formatSet[T ~uint8 | ~uint16](x T, words []word[T]) string {
	if x == 0 {
		return "None"
	}
	var b strings.Builder
	sep := func() {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
	}
	for _, w := range words {
		if w.value != 0 && x&w.value == w.value {
			sep()
			b.WriteString(w.name)
			x &^= w.value
		}
	}
	if x != 0 {
		sep()
		fmt.Fprintf(&b, "%#x", uint(x))
	}
	return b.String()
}

// unnamed returns the bits of x that have no name.
func unnamed[T ~uint8 | ~uint16](x T, words []word[T]) T {
	for _, w := range words {
		x &^= w.value
	}
	return x
}

func marshalSet[T ~uint8 | ~uint16](kind string, x T, words []word[T]) ([]byte, error) {
	if extra := unnamed(x, words); extra != 0 {
		return nil, fmt.Errorf("connector: %#x is no %s", uint(extra), kind)
	}
	return []byte(formatSet(x, words)), nil
}

// parseSet reads words separated by commas or white space. Empty text is the
// empty set, as is the word None.
func parseSet[T ~uint8 | ~uint16](kind, s string, words []word[T]) (T, error) {
	var x T
	count, none := 0, false
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r'
	}) {
		v, err := parseOne(kind, f, words)
		if err != nil {
			return 0, err
		}
		count++
		none = none || strings.EqualFold(f, "None")
		x |= v
	}
	if none && count > 1 {
		return 0, fmt.Errorf("connector: None must stand alone, in %q", s)
	}
	return x, nil
}

func unknownWord[T ~uint8 | ~uint16](kind, s string, words []word[T]) error {
	var seen []T
	var valid []string
	for _, w := range words {
		if !slices.Contains(seen, w.value) {
			seen = append(seen, w.value)
			valid = append(valid, w.name)
		}
	}
	return fmt.Errorf("connector: unknown %s %q; valid are %s", kind, s, strings.Join(valid, ", "))
}
