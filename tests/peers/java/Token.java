// The JDK's HTTP client with its default settings: over plain HTTP it offers HTTP/2 (h2c) with the first request of each connection.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Base64;

class Token {
    public static void main(String[] arguments) throws Exception {
        String issuer = arguments[0];
        // The API key is read from standard input, since every user can read a command line.
        String key = new String(System.in.readAllBytes()).strip();
        String basic = "Basic " + Base64.getEncoder().encodeToString((arguments[1] + ":" + key).getBytes());
        for (boolean expectsContinue : new boolean[] {false, true}) {
            HttpClient client = HttpClient.newHttpClient();
            HttpRequest request = HttpRequest.newBuilder(URI.create(issuer + "/oauth2/token"))
                .header("Authorization", basic)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .expectContinue(expectsContinue)
                .POST(HttpRequest.BodyPublishers.ofString("grant_type=client_credentials"))
                .build();
            // Twice: the second request uses the connection of the first one if that was kept alive.
            for (int i = 0; i < 2; i++) {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
            }
        }
    }
}
