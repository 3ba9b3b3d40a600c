package wiretest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Play plays a dialogue. Its lines may be indented with tabs.
func (s *Side) Play(dialogue string) {
	s.t.Helper()
	for line := range strings.Lines(dialogue) {
		if err := s.Do(strings.Trim(line, "\t\n")); err != nil {
			s.t.Fatalf("at %q: %v", line, err)
		}
	}
}

// Do plays one line of a dialogue.
func (s *Side) Do(line string) error {
	word, arg, _ := strings.Cut(line, " ")
	switch word {
	case "C:", "C>", "C*", "S:", "S>", "S*":
		return s.say(Role(word[0]), word[1], arg)
	}
	s.release()
	switch word {
	case "", "#":
	case "EHLO":
		_, err := s.ehlo()
		return err
	case "tls":
		return s.TryHandshake(nil)
	case "wait":
		d, err := time.ParseDuration(arg)
		time.Sleep(d)
		return err
	case "silent":
		return s.silence()
	case "hangup":
		return s.leave(Client)
	case "close":
		return s.leave(Server)
	default:
		return fmt.Errorf("unknown line %q", line)
	}
	return nil
}

// say plays what one of the two says: a line, octets, or one of them several
// times.
func (s *Side) say(who Role, how byte, text string) error {
	n := 1
	if how == '*' {
		count, rest, _ := strings.Cut(text, " ")
		var err error
		if n, err = strconv.Atoi(count); err != nil {
			return err
		}
		text = rest
	}
	if octets := how == '>' || how == '*' && who == Client; octets {
		unquoted, err := strconv.Unquote(`"` + text + `"`)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		return s.octets(who, strings.Repeat(unquoted, n))
	}
	if who == s.role {
		s.put(strings.Repeat(text+"\r\n", n))
		return nil
	}
	s.release()
	for range n {
		if err := s.hear(text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Side) octets(who Role, text string) error {
	if who != s.role {
		s.release()
		return s.hearOctets(text)
	}
	s.put(text)
	return nil
}

// put sends what a client says, and holds what a server says.
func (s *Side) put(text string) {
	if s.role == Client {
		s.Send(text)
		return
	}
	s.held += text
}

// leave closes the connection, if it is this side that does.
func (s *Side) leave(who Role) error {
	if who != s.role {
		return s.closed()
	}
	s.Sent()
	s.Close()
	return nil
}

// Match compares with a pattern in which * stands for any text.
func Match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, m := range parts[1 : len(parts)-1] {
		i := strings.Index(s, m)
		if i < 0 {
			return false
		}
		s = s[i+len(m):]
	}
	return strings.HasSuffix(s, last)
}
