<?php
// Sends a message with PHPMailer. The job comes as JSON, the refusal goes out.
require '/usr/share/php/libphp-phpmailer/src/Exception.php';
require '/usr/share/php/libphp-phpmailer/src/OAuthTokenProvider.php';
require '/usr/share/php/libphp-phpmailer/src/SMTP.php';
ini_set('memory_limit', '-1');
ini_set('display_errors', 'stderr');

class Token implements PHPMailer\PHPMailer\OAuthTokenProvider
{
	public function __construct(private object $job) {}

	public function getOauth64()
	{
		return base64_encode("user={$this->job->user}\1auth=Bearer {$this->job->password}\1\1");
	}
}

$job = json_decode($argv[1]);
$smtp = new PHPMailer\PHPMailer\SMTP();
$check = function (bool $ok) use ($smtp) {
	if (!$ok) {
		fwrite(STDERR, json_encode($smtp->getError()) . "\n");
		exit(1);
	}
};
// startTLS goes by the context of the connection.
$tls = ['ssl' => ['cafile' => $job->ca, 'peer_name' => $job->host]];
$scheme = $job->security === 'implicit' ? 'ssl://' : '';
$smtp->setDebugLevel(3); // or it keeps to itself why TLS has failed
$check($smtp->connect($scheme . $job->host, $job->port, 60, $tls));
$smtp->setDebugLevel(0);
$check($smtp->hello('client.example.test'));
if ($job->security === 'STARTTLS') {
	$check($smtp->startTLS());
	$check($smtp->hello('client.example.test'));
}
if ($job->mechanism !== '') {
	$check($smtp->authenticate($job->user, $job->password, $job->mechanism, new Token($job)));
}
$check($smtp->mail($job->from));
$check($smtp->recipient($job->to));
$check($smtp->data(file_get_contents($job->file)));
$smtp->quit();
