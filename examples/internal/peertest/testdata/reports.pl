# Reads reports with Sisimai. The arguments are files; a line of JSON goes out for each recipient in one.
use strict;
use warnings;
use JSON::PP;
use Sisimai;

my $json = JSON::PP->new->canonical->utf8;
my $read = Sisimai->can('rise') || Sisimai->can('make'); # since 5.0, and before
for my $file (@ARGV) {
	for my $r (@{$read->('Sisimai', $file, 'delivered' => 1) || []}) {
		print $json->encode({
			file => $file, recipient => $r->recipient->address, sender => $r->addresser->address,
			status => $r->deliverystatus, action => $r->action, reason => $r->reason, reply => $r->replycode,
		}), "\n";
	}
}
