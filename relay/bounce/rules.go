package bounce

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed rules.txt
var rulesText string

// rules are those of rules.txt, read when they are first needed.
var rules = sync.OnceValue(func() *book {
	b, err := readBook(rulesText)
	if err != nil {
		panic(err) // a fault of this package, which its tests find
	}
	return b
})

// book is all rules, in the order in which they are asked.
type book struct {
	providers []provider
	codes     list // enhanced codes that need no words
	words     list // words that anybody may use
	rest      list // what is left
}

// provider has the rules of an operator of hosts.
type provider struct {
	ends   []string // of the names of its hosts
	shared bool     // its customers choose words
	list   list
}

// rule is a class, and what a reply must have for it.
type rule struct {
	class  Class
	digit  byte // the first of the code; 0 is any
	code   int  // the code; 0 is any
	codes  codes
	step   Step // "" is any
	phrase phrase
}

// meets reports whether a reply has all that the rule asks for but the phrase.
func (r *rule) meets(in *input) bool {
	return (r.digit == 0 || r.digit == in.digit) && (r.code == 0 || r.code == in.code) &&
		(r.codes.subject < 0 || r.codes.has(in.codes)) && (r.step == "" || r.step == in.step)
}

// list is rules of which the first counts that a reply meets.
type list struct {
	rules   []rule
	plain   []int             // those without a phrase
	phrases map[[3]byte][]int // the others, by the first letters of the phrase
}

func (l *list) add(r rule) {
	i := len(l.rules)
	l.rules = append(l.rules, r)
	if r.phrase == nil {
		l.plain = append(l.plain, i)
		return
	}
	if l.phrases == nil {
		l.phrases = make(map[[3]byte][]int)
	}
	k := [3]byte(r.phrase[0][1:])
	l.phrases[k] = append(l.phrases[k], i)
}

// find returns the class of the first rule that a reply meets; "" is none.
func (l *list) find(in *input) Class {
	best := len(l.rules)
	for _, i := range l.plain {
		if r := &l.rules[i]; r.meets(in) && in.believes(r.class) {
			best = i
			break
		}
	}
	for at := 0; len(l.phrases) > 0 && at+4 <= len(in.words); at++ {
		if in.words[at] == ' ' {
			best = l.better(in, at, best)
		}
	}
	if best == len(l.rules) {
		return ""
	}
	return l.rules[best].class
}

// better looks for a rule before best whose phrase begins at a place.
func (l *list) better(in *input, at, best int) int {
	for _, i := range l.phrases[[3]byte(in.words[at+1:])] {
		if i >= best {
			break
		}
		r := &l.rules[i]
		if r.meets(in) && in.believes(r.class) && r.phrase.begins(in.words[at:]) {
			return i
		}
	}
	return best
}

// readBook reads the form that rules.txt describes.
func readBook(text string) (*book, error) {
	b := new(book)
	var l *list
	var errs []error
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		var err error
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			l, err = b.section(strings.Trim(line, "[]"))
		case l == nil:
			err = errors.New("no section")
		default:
			err = l.read(line)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("bounce: line %d: %w", n+1, err))
		}
	}
	return b, errors.Join(errs...)
}

// section returns the list that a heading begins.
func (b *book) section(heading string) (*list, error) {
	switch words := strings.Fields(heading); {
	case heading == "codes":
		return &b.codes, nil
	case heading == "words":
		return &b.words, nil
	case heading == "rest":
		return &b.rest, nil
	case len(words) > 1 && (words[0] == "hosts" || words[0] == "shared"):
		b.providers = append(b.providers, provider{ends: words[1:], shared: words[0] == "shared"})
		return &b.providers[len(b.providers)-1].list, nil
	}
	return nil, fmt.Errorf("no section is %q", heading)
}

// read reads a rule.
func (l *list) read(line string) error {
	head, words, hasWords := strings.Cut(line, ": ")
	fields := strings.Fields(head)
	r := rule{codes: noCode()}
	if err := r.class.UnmarshalText([]byte(fields[0])); err != nil {
		return err
	}
	for _, f := range fields[1:] {
		if err := r.condition(f); err != nil {
			return err
		}
	}
	if hasWords {
		if r.phrase = readPhrase(words); r.phrase == nil {
			return fmt.Errorf("%q is no phrase", words)
		}
	}
	if !hasWords && len(fields) == 1 {
		return errors.New("everything would meet the rule")
	}
	l.add(r)
	return nil
}

// condition reads one of "4", "550", "5.7.26", "x.7.600-649" and "@rcpt".
func (r *rule) condition(s string) error {
	if step, ok := strings.CutPrefix(s, "@"); ok {
		if r.step = Step(step); r.step.class() == Other {
			return fmt.Errorf("no step is %q", step)
		}
		return nil
	}
	if digit := s[0]; digit == '4' || digit == '5' {
		r.digit = digit
		if len(s) == 1 {
			return nil
		}
	}
	if code, err := strconv.Atoi(s); err == nil && code >= 400 && code < 600 {
		r.code = code
		return nil
	}
	low, high, isRange := strings.Cut(s, "-")
	r.codes = readCode(low)
	if isRange {
		r.codes.high = number(high)
	}
	if r.codes.subject < 0 || r.codes.high < r.codes.low {
		return fmt.Errorf("%q is no condition", s)
	}
	return nil
}
