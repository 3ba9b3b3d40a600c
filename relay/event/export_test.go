package event

import (
	"encoding/json"
	"time"
)

// Marshal is the stored form as encoding/json writes it.
func Marshal(e *Event) ([]byte, error) { return json.Marshal(e.stored()) }

func (e *Event) stored() *stored {
	s := &stored{
		ID: e.ID, Time: stamp(e.Time), Kind: string(e.Kind), QueueID: e.QueueID,
		ReportOf: e.ReportOf, Stream: e.Stream, Connector: e.Connector, TLS: e.TLS,
		Certificate: e.Certificate, User: e.User, Credential: e.Credential, From: e.From,
		To: e.To, Size: e.Size, Code: e.Code, Enhanced: e.Enhanced, Text: e.Text, Host: e.Host,
		Class: string(e.Class), Site: e.Site, Throttle: e.Throttle,
		Attempt: e.Attempt, DelayMS: e.Delay.Milliseconds(), Next: stamp(e.Next),
		Report: e.Report, Stage: string(e.Stage), Command: e.Command, Reason: e.Reason,
		Labels: e.Labels,
	}
	if e.Remote.IsValid() {
		s.Remote = e.Remote.String()
	}
	return s
}

func stamp(t time.Time) string {
	if y := t.UTC().Year(); t.IsZero() || y < 0 || y > 9999 {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
