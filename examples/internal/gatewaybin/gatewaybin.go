// Package gatewaybin builds the gateway example for who runs it as a process of
// its own, and has a configuration in which it takes all that comes.
package gatewaybin

import (
	"context"
	"fmt"
	"os/exec"
)

// Build builds the gateway into a file.
func Build(ctx context.Context, file string) error {
	cmd := exec.CommandContext(
		ctx, "go", "build", "-o", file, "github.com/postern-mail/postern/examples/gateway",
	)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the gateway: %w\n%s", err, text)
	}
	return nil
}

const config = `%s
hostname = "relay.example.test"
spool = "spool"

[[connector]]
name = "apps"
usage = "Custom"
bindings = [%q]
remote_ip_ranges = ["127.0.0.1"]
permission_groups = ["AnonymousUsers"]
grants = [{ principal = "anonymous", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"] }]

[connector.limits]
tarpit = "0s"
max_connections = -1
max_connections_per_source = -1
max_connections_percent_per_source = -1
connection_rate = -1
message_rate = -1

[[send_connector]]
name = "out"
address_spaces = ["*;1"]
%s`

// Config is the configuration of a gateway that relays what 127.0.0.1 sends to
// addr, without a limit. The lines of top are for the whole gateway; those of
// out say where its only send connector leads, and what else there is.
func Config(top, addr, out string) string { return fmt.Sprintf(config, top, addr, out) }
