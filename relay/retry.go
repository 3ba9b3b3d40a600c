package relay

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// newRetry checks a schedule and fills in its defaults.
func newRetry(r delivery.Retry, f *faults) delivery.Retry {
	for name, waits := range map[string][]time.Duration{"MX": r.MX, "Schedule": r.Schedule} {
		for i, d := range waits {
			if d < time.Second {
				f.addf(fmt.Sprintf("Retry.%s[%d]", name, i), "%v is shorter than a second", d)
			}
		}
	}
	r = r.WithDefaults()
	for name, d := range map[string]time.Duration{"Greylisted": r.Greylisted, "Expires": r.Expires} {
		if d < time.Second {
			f.addf("Retry."+name, "%v is shorter than a second", d)
		}
	}
	if d := r.DelayNotification; 0 < d && d < time.Second {
		f.addf("Retry.DelayNotification", "%v is shorter than a second; negative is never", d)
	}
	return r
}
