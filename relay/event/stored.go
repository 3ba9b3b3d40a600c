package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
)

// stored is an event as JSON. Its names are a promise: logs are read by later
// versions and by other programs.
type stored struct {
	ID          string            `json:"id,omitempty"`
	Time        string            `json:"time,omitempty"`
	Kind        string            `json:"kind"`
	QueueID     string            `json:"queue_id,omitempty"`
	ReportOf    string            `json:"report_of,omitempty"`
	Stream      string            `json:"stream,omitempty"`
	Connector   string            `json:"connector,omitempty"`
	Remote      string            `json:"remote,omitempty"`
	TLS         string            `json:"tls,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	User        string            `json:"user,omitempty"`
	Credential  string            `json:"credential,omitempty"`
	From        string            `json:"from"`
	To          []string          `json:"to,omitempty"`
	Size        int64             `json:"size,omitempty"`
	Code        int               `json:"code,omitempty"`
	Enhanced    string            `json:"enhanced,omitempty"`
	Text        string            `json:"text,omitempty"`
	Host        string            `json:"host,omitempty"`
	Class       string            `json:"class,omitempty"`
	Attempt     int               `json:"attempt,omitempty"`
	DelayMS     int64             `json:"delay_ms,omitempty"`
	Next        string            `json:"next,omitempty"`
	Report      string            `json:"report,omitempty"`
	Site        string            `json:"site,omitempty"`
	Throttle    string            `json:"throttle,omitempty"`
	Stage       string            `json:"stage,omitempty"`
	Command     string            `json:"command,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

// Parse reads a stored form.
func Parse(data []byte) (Event, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	return s.event()
}

// MarshalJSON returns the stored form.
func (e Event) MarshalJSON() ([]byte, error) { return Append(nil, &e), nil }

// UnmarshalJSON reads the stored form.
func (e *Event) UnmarshalJSON(b []byte) (err error) {
	*e, err = Parse(b)
	return err
}

var errNoKind = errors.New("event: it has no kind")

func (s *stored) event() (Event, error) {
	if s.Kind == "" {
		return Event{}, errNoKind
	}
	e := Event{
		ID: s.ID, Kind: Kind(s.Kind), QueueID: s.QueueID, ReportOf: s.ReportOf, Stream: s.Stream,
		Connector: s.Connector, TLS: s.TLS, Certificate: s.Certificate, User: s.User,
		Credential: s.Credential, From: s.From, To: s.To, Size: s.Size, Code: s.Code,
		Enhanced: s.Enhanced, Text: s.Text, Host: s.Host, Class: bounce.Class(s.Class),
		Attempt: s.Attempt, Delay: time.Duration(s.DelayMS) * time.Millisecond,
		Report: s.Report, Site: s.Site, Throttle: s.Throttle,
		Stage: Stage(s.Stage), Command: s.Command, Reason: s.Reason, Labels: s.Labels,
	}
	var errs [3]error
	e.Time, errs[0] = readStamp(s.Time)
	e.Next, errs[1] = readStamp(s.Next)
	if s.Remote != "" {
		e.Remote, errs[2] = netip.ParseAddrPort(s.Remote)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	return e, nil
}

func readStamp(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UTC(), err
}
