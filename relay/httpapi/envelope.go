package httpapi

import (
	"net/url"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

func badArguments(text string) error { return relay.Reject(501, "5.5.4", text) }

// envelope reads the query of a raw message.
func envelope(query string) (*relay.Message, error) {
	if len(query) > maxQuery {
		return nil, badArguments("The query is too long")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, badArguments("The query is malformed")
	}
	m := &relay.Message{To: unique(q["to"])}
	for name, values := range q {
		if len(values) != 1 && name != "to" && name != "label" {
			return nil, badArguments("A query parameter is given more than once")
		}
		switch name {
		case "to":
		case "from":
			m.From = values[0]
		case "envelope_id":
			m.EnvelopeID = values[0]
		case "return":
			m.Return = spool.Return(strings.ToUpper(values[0]))
		case "stream":
			m.Stream = values[0]
		case "not_before":
			if m.NotBefore, err = time.Parse(time.RFC3339, values[0]); err != nil {
				return nil, badArguments("The query parameter not_before is malformed")
			}
		case "expires":
			if m.Expires, err = time.Parse(time.RFC3339, values[0]); err != nil {
				return nil, badArguments("The query parameter expires is malformed")
			}
		case "notify":
			if m.Notify.UnmarshalText([]byte(values[0])) != nil {
				return nil, badArguments("The query parameter notify is malformed")
			}
		case "label":
			m.Labels = make(map[string]string, len(values))
			for _, v := range values {
				k, v, _ := strings.Cut(v, ":")
				m.Labels[k] = v
			}
			if f := checkLabels(m.Labels); f != "" {
				return nil, badArguments("A query parameter label is malformed")
			}
		default:
			return nil, badArguments("A query parameter is unknown")
		}
	}
	if !q.Has("from") {
		return nil, badArguments("The query parameter from is missing")
	}
	return m, nil
}
