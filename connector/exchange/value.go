package exchange

import (
	"encoding/json"
	"errors"
	"math"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
)

// amountOf reads 5000, "5000", "36 MB (37,748,736 bytes)", "36 MB",
// "Unlimited", and the objects that Unlimited values are.
func amountOf(v any) (amount, bool) {
	if m, ok := v.(map[string]any); ok {
		if s, _ := scalar(member(m, "IsUnlimited")); strings.EqualFold(s, "true") {
			return amount{unlimited: true}, true
		}
		inner := member(m, "Value")
		if inner == nil {
			return amount{}, false
		}
		return amountOf(inner)
	}
	s, ok := scalar(v)
	if !ok {
		return amount{}, false
	}
	if strings.EqualFold(s, "Unlimited") {
		return amount{unlimited: true}, true
	}
	if _, exact, ok := strings.Cut(s, "("); ok {
		// The separators of thousands are those of the country.
		exact, _, _ = strings.Cut(exact, ")")
		digits := strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return r
			}
			return -1
		}, exact)
		s = digits
	}
	number := strings.TrimRight(s, "BKMGTbkmgt ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return amount{}, false
	}
	shift, ok := unit(strings.TrimSpace(s[len(number):]))
	if !ok || n > math.MaxInt64>>shift {
		return amount{}, false
	}
	return amount{n: n << shift}, true
}

func unit(s string) (shift int, ok bool) {
	switch strings.ToUpper(s) {
	case "", "B":
		return 0, true
	case "KB":
		return 10, true
	case "MB":
		return 20, true
	case "GB":
		return 30, true
	case "TB":
		return 40, true
	}
	return 0, false
}

// spanOf reads "1.00:10:00.5" and the object that a TimeSpan is.
func spanOf(v any) (time.Duration, bool) {
	const tick = 100 // nanoseconds
	if m, ok := v.(map[string]any); ok {
		if ticks, ok := member(m, "Ticks").(json.Number); ok {
			n, err := ticks.Int64()
			if err != nil || n < 0 || n > math.MaxInt64/tick {
				return 0, false
			}
			return time.Duration(n) * tick, true
		}
		v = member(m, "Value")
	}
	s, ok := v.(string)
	if !ok {
		return 0, false
	}
	return parseSpan(strings.TrimSpace(s))
}

func parseSpan(s string) (time.Duration, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	var days uint64
	if d, hours, ok := strings.Cut(parts[0], "."); ok {
		var err error
		if days, err = strconv.ParseUint(d, 10, 16); err != nil {
			return 0, false
		}
		parts[0] = hours
	}
	seconds, fraction, _ := strings.Cut(parts[2], ".")
	h, err1 := strconv.ParseUint(parts[0], 10, 16)
	m, err2 := strconv.ParseUint(parts[1], 10, 16)
	sec, err3 := strconv.ParseUint(seconds, 10, 16)
	if len(fraction) > 9 {
		return 0, false
	}
	ns, err4 := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err := errors.Join(err1, err2, err3, err4); err != nil || h > 23 || m > 59 || sec > 59 {
		return 0, false
	}
	return time.Duration(days*24+h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(
		sec,
	)*time.Second + time.Duration(ns), true
}

// words returns the words of an enumeration or a bit set, given as text or as a
// number. names holds the names of the bits, the lowest first.
func (o *object) words(name string, names ...string) (words []string, ok bool) {
	v, ok := o.get(name)
	if !ok {
		return nil, false
	}
	if list, isList := v.([]any); isList {
		for _, item := range list {
			s, ok := scalar(item)
			if !ok {
				o.wrong(name, item, "a word")
				return nil, false
			}
			words = append(words, s)
		}
		return words, true
	}
	s, ok := scalar(v)
	if !ok {
		o.wrong(name, v, "a word or a number")
		return nil, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		for w := range strings.FieldsFuncSeq(s, isSeparator) {
			words = append(words, w)
		}
		return words, true
	}
	if n>>len(names) != 0 {
		o.wrong(name, v, "a number that stands for known words")
		return nil, false
	}
	for ; n != 0; n &= n - 1 {
		words = append(words, names[bits.TrailingZeros64(n)])
	}
	return words, true
}

// choice returns the word of an enumeration, given as text or as a number.
func (o *object) choice(name string, names map[string]string) string {
	v, ok := o.get(name)
	if !ok {
		return ""
	}
	s, ok := scalar(v)
	if !ok {
		o.wrong(name, v, "a word or a number")
		return ""
	}
	if _, err := strconv.ParseInt(s, 10, 64); err != nil {
		return s
	}
	word, ok := names[s]
	if !ok {
		o.wrong(name, v, "a number that stands for a known word")
	}
	return word
}

// addrOf returns the text of an IP address: the text itself, or what an
// IPAddress is as an object.
func addrOf(v any) (string, bool) { return textOf(v, "IPAddressToString", "Address", "Value") }

// bindingOf reads "0.0.0.0:25" and {"Address": …, "Port": 25}.
func bindingOf(v any) (netip.AddrPort, bool) {
	s, ok := v.(string)
	if m, isMap := v.(map[string]any); isMap {
		addr, hasAddr := addrOf(member(m, "Address"))
		port, hasPort := scalar(member(m, "Port"))
		if s, ok = textOf(v, "Expression"); !ok && hasAddr && hasPort {
			if strings.Contains(addr, ":") && !strings.HasPrefix(addr, "[") {
				addr = "[" + addr + "]"
			}
			s, ok = addr+":"+port, true
		}
	}
	b, err := netip.ParseAddrPort(strings.TrimSpace(s))
	return b, ok && err == nil
}

// rangeText returns the text of a range: the text itself, or what an IPRange is
// as an object.
func rangeText(v any) (string, bool) {
	if s, ok := textOf(v, "Expression"); ok {
		return s, true
	}
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	low, ok1 := addrOf(member(m, "LowerBound"))
	high, ok2 := addrOf(member(m, "UpperBound"))
	return low + "-" + high, ok1 && ok2
}

// parseRange reads what Exchange prints: the forms of [connector.ParseRange]
// and an address with a mask, 10.0.0.0(255.0.0.0).
func parseRange(s string) (connector.Range, error) {
	addr, mask, ok := strings.Cut(s, "(")
	if !ok {
		return connector.ParseRange(s)
	}
	m, err := netip.ParseAddr(strings.TrimSuffix(mask, ")"))
	if err != nil {
		return connector.Range{}, err
	}
	ones, rest := 0, false
	for _, b := range m.AsSlice() {
		n := bits.LeadingZeros8(^b)
		if rest && b != 0 || b<<n != 0 {
			return connector.Range{}, errors.New("a mask with gaps")
		}
		rest = rest || n < 8
		ones += n
	}
	return connector.ParseRange(strings.TrimSpace(addr) + "/" + strconv.Itoa(ones))
}
