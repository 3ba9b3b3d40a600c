package admin

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/postern-mail/postern/connector"
)

// view is what the page shows: the status, or what Explain has answered.
type view struct {
	Style    template.CSS
	Hostname string
	Status   *status
	Operate  bool         // operations are offered
	Choices  list[string] // names of the receive connectors
	Asked    question
	Faults   map[string]string // by field
	Answer   *answer
}

func (h *handler) overview(r *http.Request) view {
	s := h.status(r.Context())
	return view{
		Hostname: s.Hostname, Status: s, Operate: h.mayOperate(r), Choices: h.choices(),
	}
}

func (h *handler) choices() list[string] {
	return first(maxConnectors, h.cfg.Relay.Connectors(), func(c *connector.Connector) string {
		return c.Name
	})
}

func functions() template.FuncMap {
	return template.FuncMap{
		"bytes": formatBytes, "limit": formatLimit, "time": formatTime, "percent": formatShare,
	}
}

// formatTime writes a time for people: in UTC, to the second.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// formatShare writes a part of 1.
func formatShare(part float64) string { return strconv.Itoa(int(100*part+0.5)) + " %" }

// formatBytes writes a number of octets for people.
func formatBytes(n int64) string {
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1<<10 && unit < 5 {
		value, unit = value/(1<<10), unit+1
	}
	return fmt.Sprintf("%.4g %ciB", value, "KMGTPE"[unit])
}

// formatLimit writes a limit, of which -1 is none.
func formatLimit(n int) string {
	if n < 0 {
		return "no limit"
	}
	return strconv.Itoa(n)
}

//go:embed page.html
var pageSource string

//go:embed style.css
var style string

// render writes the page.
func (h *handler) render(w http.ResponseWriter, status int, v view) {
	v.Style = template.CSS(style)
	var b bytes.Buffer
	if err := h.page.Execute(&b, v); err != nil {
		h.fail(w, err)
		return
	}
	write(w, status, "text/html; charset=utf-8", b.Bytes())
}
