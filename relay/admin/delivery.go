package admin

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/bounce"
)

// How much of what goes on is shown.
const (
	maxSites     = 100
	maxThrottles = 200
)

// site is where mail leaves to.
type site struct {
	Name        string     `json:"name"`
	Provider    string     `json:"provider"`
	Source      string     `json:"source"`
	UnderWay    int        `json:"under_way"`
	Limit       int        `json:"limit"`
	Waiting     int        `json:"waiting"`
	Connections int        `json:"connections"`
	Share       float64    `json:"share"`
	RestsUntil  *time.Time `json:"rests_until"`
	Failure     *failure   `json:"failure"`
}

type failure struct {
	Time     time.Time    `json:"time"`
	Class    bounce.Class `json:"class"`
	Code     int          `json:"code"`
	Enhanced string       `json:"enhanced"`
	Text     string       `json:"text"`
	Host     string       `json:"host"`
}

// throttle is what the relay does by itself.
type throttle struct {
	ID       string       `json:"id"`
	Class    bounce.Class `json:"class"`
	Site     string       `json:"site"`
	Source   string       `json:"source"`
	Stream   string       `json:"stream"`
	Sender   string       `json:"sender"`
	Share    float64      `json:"share"`
	Begun    time.Time    `json:"begun"`
	Until    time.Time    `json:"until"`
	Times    int          `json:"times"`
	Code     int          `json:"code"`
	Enhanced string       `json:"enhanced"`
	Text     string       `json:"text"`
	Host     string       `json:"host"`
}

// describe puts how mail leaves now into the status.
func (h *handler) describe(ctx context.Context, s *status) {
	d := h.cfg.Relay.Describe(ctx)
	s.Sites = first(maxSites, d.Sites, showSite)
	s.Sites.More += d.MoreSites
	s.Throttles = first(maxThrottles, d.Throttles, showThrottle)
}

func showSite(s relay.Site) site {
	shown := site{
		Name: s.Name, Provider: s.Provider, Source: s.Source, UnderWay: s.UnderWay,
		Limit: s.Limit, Waiting: s.Waiting, Connections: s.Connections, Share: s.Share,
	}
	if !s.RestsUntil.IsZero() {
		at := s.RestsUntil.UTC()
		shown.RestsUntil = &at
	}
	if f := s.Failure; f != nil {
		shown.Failure = &failure{f.Time.UTC(), f.Class, f.Code, f.Enhanced, f.Text, f.Host}
	}
	return shown
}

func showThrottle(t relay.Throttle) throttle {
	return throttle{
		ID: t.ID, Class: t.Class, Site: t.Site, Source: t.Source, Stream: t.Stream,
		Sender: t.Sender, Share: t.Share, Begun: t.Begun.UTC(), Until: t.Until.UTC(),
		Times: t.Times, Code: t.Code, Enhanced: t.Enhanced, Text: t.Text, Host: t.Host,
	}
}
