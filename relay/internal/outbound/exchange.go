package outbound

import "encoding/base64"

// dialogue is one exchange of a mechanism.
type dialogue struct {
	*conn
	hop   *hop
	login *login
	name  string // of the mechanism
}

// maxInitial is the longest command line (RFC 5321 section 4.5.3.1.4): what
// does not fit behind AUTH waits for the peer to ask for it.
const maxInitial = 512 - len("\r\n")

// begin sends AUTH with the client's first message.
func (d *dialogue) begin(message string) (*reply, error) {
	line, text := "AUTH "+d.name, encoded(message)
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
	return d.command(encoded(message), nil)
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

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
