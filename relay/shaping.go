package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/sched"
)

// shaping is what a configuration says of how much goes where at once.
type shaping struct {
	delivery.Shaping
	providers map[string]*delivery.Provider // by name
	streams   map[string]*delivery.Stream   // by name
}

// newShaping checks limits and fills in their defaults.
func newShaping(s delivery.Shaping, f *faults) *shaping {
	p := &shaping{
		Shaping: s, providers: make(map[string]*delivery.Provider),
		streams: make(map[string]*delivery.Stream),
	}
	checkLimits("Shaping.Site", &s.Site, f)
	checkLimits("Shaping.Source", &s.Source, f)
	checkStreamLimits("Shaping.StreamSite", &s.StreamSite, f)
	if p.Providers = slices.Clone(s.Providers); s.Providers == nil {
		p.Providers = delivery.Providers()
	}
	for i := range p.Providers {
		p.addProvider(fmt.Sprintf("Shaping.Providers[%d]", i), &p.Providers[i], f)
	}
	p.Streams = slices.Clone(s.Streams)
	for i := range p.Streams {
		p.addStream(fmt.Sprintf("Shaping.Streams[%d]", i), &p.Streams[i], f)
	}
	return p
}

func (p *shaping) addProvider(field string, v *delivery.Provider, f *faults) {
	switch {
	case v.Name == "":
		f.addf(field+".Name", "required")
	case v.Name != strings.ToLower(v.Name):
		f.addf(field+".Name", "%q is not in lower case", v.Name)
	case p.providers[v.Name] != nil:
		f.addf(field+".Name", "%q is the name of another one", v.Name)
	}
	if len(v.Exchangers) == 0 {
		f.addf(field+".Exchangers", "required: the ends of its exchangers' names")
	}
	for i, end := range v.Exchangers {
		if name, err := domains.ParseDomain(end); err != nil || name != end {
			f.addf(
				fmt.Sprintf("%s.Exchangers[%d]", field, i),
				"%q is not the end of a name, in lower case and without dots around it", end,
			)
		}
	}
	checkLimits(field+".Limits", &v.Limits, f)
	p.providers[v.Name] = v
}

func (p *shaping) addStream(field string, v *delivery.Stream, f *faults) {
	switch {
	case p.streams[v.Name] != nil:
		f.addf(field+".Name", "%q is the name of another one", v.Name)
	case v.Name != "" && !intake.IsWord(v.Name):
		f.addf(field+".Name", "%q %w: no message has it", v.Name, errWord)
	}
	if v.Weight < 0 || v.Weight > 100 {
		f.addf(field+".Weight", "%d is not from 1 to 100", v.Weight)
	}
	checkStreamLimits(field+".Limits", &v.Limits, f)
	p.streams[v.Name] = v
}

func checkStreamLimits(field string, l *delivery.Limits, f *faults) {
	checkLimits(field, l, f)
	if l.MessagesPerConnection > 0 {
		f.addf(field+".MessagesPerConnection", "streams share connections: leave it out, or set "+
			"it for sites or providers")
	}
}

func checkLimits(field string, l *delivery.Limits, f *faults) {
	if l.Connections < 0 {
		f.addf(field+".Connections", "%d is negative; 0 is no bound", l.Connections)
	}
	if l.MessagesPerConnection < 0 {
		f.addf(field+".MessagesPerConnection", "%d is negative; 0 is no bound",
			l.MessagesPerConnection)
	}
	r := l.Rate
	if r.Messages < 0 {
		f.addf(field+".Rate.Messages", "%d is negative; 0 is no bound", r.Messages)
	}
	switch {
	case r.Per != 0 && r.Per < time.Second:
		f.addf(field+".Rate.Per", "%v is shorter than a second; 0 is an hour", r.Per)
	case r.Per != 0 && r.Messages == 0:
		f.addf(field+".Rate.Messages", "required beside Per")
	}
}

// provider is the name of who operates mail exchangers; empty if nobody is
// known to. It operates all of them: a domain that names one of somebody's
// beside its own is to hold up its own mail only.
func (p *shaping) provider(exchangers []string) string {
	if len(exchangers) == 0 {
		return ""
	}
	for i := range p.Providers {
		other := func(name string) bool { return !p.Providers[i].Has(name) }
		if !slices.ContainsFunc(exchangers, other) {
			return p.Providers[i].Name
		}
	}
	return ""
}

// messages is how many messages a connection to the site with these exchangers
// is for; 0 is no bound.
func (p *shaping) messages(exchangers []string) (most int) {
	limits := []*delivery.Limits{&p.Site, &p.Source}
	if v := p.providers[p.provider(exchangers)]; v != nil {
		limits = append(limits, &v.Limits)
	}
	for _, l := range limits {
		if n := l.MessagesPerConnection; n > 0 && (most == 0 || n < most) {
			most = n
		}
	}
	return most
}

// limits are those of a site, or this relay's part of them.
func (p *shaping) limits(s sched.Site, n share) sched.Limits {
	l := sched.Limits{Site: n.of(&p.Site), Source: n.of(&p.Source)}
	if v := p.providers[s.Provider]; v != nil {
		l.Provider = n.of(&v.Limits)
	}
	return l
}

// stream is the weight of a stream, and what bounds it at each site.
func (p *shaping) stream(name string, n share) (weight int, limit sched.Limit) {
	v := p.streams[name]
	if v == nil {
		return 1, n.of(&p.StreamSite)
	}
	limits := &v.Limits
	if *limits == (delivery.Limits{}) {
		limits = &p.StreamSite
	}
	return max(v.Weight, 1), n.of(limits)
}

// share is which part of a limit is this relay's, where several share a store.
type share struct {
	part func(limit int) int
	live int // relays
}

func (r *Relay) share() share {
	_, live := r.nodes.Rank()
	return share{part: r.nodes.Part, live: live}
}

// of returns this relay's part of limits: of the rate as much as of the others,
// and a tenth of that at once.
func (n share) of(l *delivery.Limits) sched.Limit {
	var limit sched.Limit
	if l.Connections > 0 {
		limit.Connections = n.part(l.Connections)
	}
	if m := l.Rate.Messages; m > 0 {
		each := cmp.Or(l.Rate.Per, time.Hour) / time.Duration(m)
		limit.Every = max(each*time.Duration(n.live), 1)
		limit.Burst = max(m/10/n.live, 1)
	}
	return limit
}

// limitsOf tells the scheduler what bounds the mail to a site.
func (r *Relay) limitsOf(s sched.Site) sched.Limits {
	return r.snap.Load().shaping.limits(s, r.share())
}

// streamOf tells the scheduler what a stream is worth at each site.
func (r *Relay) streamOf(name string) (weight int, limit sched.Limit) {
	return r.snap.Load().shaping.stream(name, r.share())
}
