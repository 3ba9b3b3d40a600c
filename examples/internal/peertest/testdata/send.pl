# Sends a message with Net::SMTP. The job comes as JSON, the refusal goes out.
use strict;
use warnings;
use Authen::SASL;
use JSON::PP;
use Net::SMTP;

my $job = decode_json($ARGV[0]);
my @tls = (SSL_ca_file => $job->{ca}, SSL_verifycn_name => $job->{host}, SSL_verify_mode => 1);
push @tls, SSL_cert_file => $job->{certificate}, SSL_key_file => $job->{key} if $job->{certificate};
my $s   = Net::SMTP->new(
    $job->{host},
    Port    => $job->{port},
    Hello   => 'client.example.test',
    Timeout => 60,
    $job->{security} eq 'implicit' ? (SSL => 1, @tls) : ()
) or die "connect: $@\n";
sub check { shift or die join(' ', $s->code, $s->message) . "\n" }
if ($job->{security} eq 'STARTTLS') { $s->starttls(@tls) or die IO::Socket::SSL::errstr() . "\n" }
if ($job->{mechanism}) {
    my %who = (user => $job->{user}, authname => $job->{user}, pass => $job->{password});
    check($s->auth(Authen::SASL->new(mechanism => $job->{mechanism}, callback => \%who)));
}
check($s->mail($job->{from}, Bits => 8));
check($s->to($job->{to}));
check($s->data);
open my $file, '<:raw', $job->{file} or die $!;
while (read $file, my $block, 1 << 16) { check($s->datasend($block)) }
check($s->dataend);
$s->quit;
