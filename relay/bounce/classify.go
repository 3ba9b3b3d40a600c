package bounce

import "strings"

// Classify returns the class of a failure: always one of [Classes]. It reads
// words that the far side chose; see "Trust" in the overview of this package.
// It may be called from many goroutines at once.
func Classify(r Reply) Class {
	if r.Code == 0 {
		return classifyLocal(&r)
	}
	var buf [maxText + 2]byte
	in := input{
		code: r.Code, digit: '0' + byte(r.Code/100%10), codes: readCode(r.Enhanced), step: r.Step,
		words: appendWords(buf[:0], r.Text),
	}
	if in.digit != '4' && in.digit != '5' {
		return Protocol // neither yes nor no
	}
	b := rules()
	if p := b.provider(r.Host); p != nil {
		if c := p.list.find(&in); c != "" {
			return c
		}
		in.shared = p.shared
	}
	in.anybody = true
	for _, l := range [...]*list{&b.codes, &b.words, &b.rest} {
		if c := l.find(&in); c != "" {
			return c
		}
	}
	return Other
}

// classifyLocal classifies a failure of this side's finding.
func classifyLocal(r *Reply) Class {
	in := input{codes: readCode(r.Enhanced), step: r.Step}
	if r.Enhanced != "" {
		in.digit = r.Enhanced[0]
	}
	b := rules()
	for _, l := range [...]*list{&b.codes, &b.rest} {
		if c := l.find(&in); c != "" && c != Policy {
			return c
		}
	}
	return r.Step.class()
}

// input is a reply as rules look at it.
type input struct {
	code    int
	digit   byte // its first
	codes   codes
	step    Step
	words   []byte // of the text, see appendWords
	anybody bool   // the rules asked are not the provider's own
	shared  bool   // customers of the host's choose words
}

// believes reports whether a class may come of it. What makes the relay send
// less to all recipients of a host is not believed from words that one of them
// may have chosen: his filter speaks after the content, and only for good.
func (in *input) believes(c Class) bool {
	if !in.anybody {
		return true
	}
	switch c {
	case RateLimited, Reputation:
		return !in.shared && (in.digit == '4' || in.step.beforeContent())
	case Greylisted, Authentication:
		return !in.shared
	}
	return true
}

// provider returns the rules of the operator of a host; nil is none.
func (b *book) provider(host string) *provider {
	if i := strings.IndexAny(host, " :[("); i >= 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	for i := range b.providers {
		for _, end := range b.providers[i].ends {
			if hasEnd(host, end) {
				return &b.providers[i]
			}
		}
	}
	return nil
}

// hasEnd reports whether a name is a domain or within it.
func hasEnd(name, domain string) bool {
	at := len(name) - len(domain)
	return at >= 0 && strings.EqualFold(name[at:], domain) && (at == 0 || name[at-1] == '.')
}
