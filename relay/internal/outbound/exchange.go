package outbound

import (
	"encoding/base64"
	"slices"
	"strings"
)

// dialogue is one exchange of a mechanism.
type dialogue struct {
	*conn
	hop   *hop
	login *login
	name  string   // of the mechanism
	shown []string // messages as they went out
}

// maxInitial is the longest command line (RFC 5321 section 4.5.3.1.4): what
// does not fit behind AUTH waits for the peer to ask for it.
const maxInitial = 512 - len("\r\n")

// begin sends AUTH with the client's first message.
func (d *dialogue) begin(message string) (*reply, error) {
	line, text := "AUTH "+d.name, d.encoded(message)
	if text == "" {
		text = "=" // RFC 4954 section 4
	}
	if len(line)+1+len(text) <= maxInitial {
		return d.command(line+" "+text, nil)
	}
	rep, err := d.command(line, nil)
	if err != nil || rep.code != 334 {
		return rep, err
	}
	return d.command(text, nil)
}

// say sends a message where the peer asks for one, else it gives the peer's
// reply back.
func (d *dialogue) say(rep *reply, err error, message string) (*reply, error) {
	if err != nil || rep.code != 334 {
		return rep, err
	}
	return d.command(d.encoded(message), nil)
}

// end cancels an exchange in which the peer asks for more (RFC 4954 section 4).
func (d *dialogue) end(rep *reply, err error) (*reply, error) {
	if err != nil || rep.code != 334 {
		return rep, err
	}
	return d.command("*", nil)
}

// challenge gives what the peer says in a 334.
func (r *reply) challenge() (string, error) {
	text, err := base64.StdEncoding.DecodeString(string(r.text))
	return string(text), err
}

// encoded gives a message as it goes out.
func (d *dialogue) encoded(message string) string {
	text := base64.StdEncoding.EncodeToString([]byte(message))
	if text != "" {
		d.shown = append(d.shown, text)
	}
	return text
}

// hide takes out of a peer's words, which are for logs and reports, what it
// repeats of the messages: some do with a command that they do not know.
func (d *dialogue) hide(words string) string {
	for _, text := range slices.Backward(d.shown) { // a password may begin with the name
		words = without(words, text)
	}
	return words
}

// leastPart is how much of a message counts as a part of it: peers cut short
// what they repeat.
const leastPart = 6

// without takes a text, and each part of it, out of other words.
func without(words, text string) string {
	var out strings.Builder
	part := min(leastPart, len(text))
	for len(words) > 0 {
		n := 0
		for n+part <= len(words) && strings.Contains(text, words[n:n+part]) {
			n++
		}
		if n == 0 {
			out.WriteByte(words[0])
			words = words[1:]
			continue
		}
		out.WriteString("(secret)")
		words = words[n-1+part:]
	}
	return out.String()
}
