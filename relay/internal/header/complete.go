package header

import "strings"

// Complete adds a domain to the mailboxes of an address list that have none
// (RFC 6409 section 8.1). The list is the raw value of a From, To or like
// field; folding, comments and display names stay as they are. It returns value
// itself if there is nothing to add.
func Complete(value, domain string) string {
	var b strings.Builder
	done := 0
	for _, end := range bareMailboxes(value) {
		b.WriteString(value[done:end])
		b.WriteString("@" + domain)
		done = end
	}
	if done == 0 {
		return value
	}
	b.WriteString(value[done:])
	return b.String()
}

// bareMailboxes returns where the mailboxes without a domain end.
func bareMailboxes(value string) []int {
	var ends []int
	item := mailbox{start: -1}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '"':
			end := quotedEnd(value, i)
			if end < 0 {
				return ends // broken from here on
			}
			item.word(i, end)
			i = end - 1
		case '(':
			end := commentEnd(value, i)
			if end < 0 {
				return ends
			}
			i = end - 1
		case '<':
			item = mailbox{start: -1, angle: true}
		case '>':
			ends = item.end(ends)
			item = mailbox{closed: true}
		case ',', ';':
			ends = item.end(ends)
			item = mailbox{start: -1}
		case ':':
			item = mailbox{start: -1} // what came before is the name of a group
		case ' ', '\t', '\r', '\n':
		default:
			end := i
			for end < len(value) && isAtext(value[end]) {
				end++
			}
			if end == i { // '@', '[' or what does not belong here
				item.other = true
				continue
			}
			item.word(i, end)
			i = end - 1
		}
	}
	return item.end(ends)
}

// mailbox is what is known of the current item of a list.
type mailbox struct {
	start, stop int  // of its only word; start is -1 without one
	words       int  // more than one is no bare mailbox
	angle       bool // inside angle brackets
	other       bool // a domain, or what is no mailbox at all
	closed      bool // after the closing bracket
}

func (m *mailbox) word(start, stop int) {
	m.start, m.stop = start, stop
	m.words++
}

// end adds where the item ends, if it is a bare mailbox.
func (m *mailbox) end(ends []int) []int {
	if m.words == 1 && !m.other && !m.closed {
		return append(ends, m.stop)
	}
	return ends
}

// isAtext knows the characters of a dot-atom (RFC 5322 section 3.2.3), those of
// UTF-8 included.
func isAtext(c byte) bool {
	return c > ' ' && c != 0x7f && !strings.ContainsRune("()<>[]:;@\\,\"", rune(c))
}

// quotedEnd returns where the quoted string that begins at i ends; -1 if it
// does not.
func quotedEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// commentEnd returns where the comment that begins at i ends; -1 if it does
// not. Comments nest.
func commentEnd(s string, i int) int {
	for depth := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
