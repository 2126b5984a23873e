"""Key and token formats of well-known issuers.

Most issuers give their keys a prefix that scanners can recognize. Each format here is documented by its issuer, covered
by a gitleaks rule (its source is then `gitleaks` and the rule's id), or scanned for by GitHub (`GitHub` and the type of
token). Lengths are given some tolerance, because issuers change them.

- https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml
- https://docs.github.com/code-security/secret-scanning/introduction/supported-secret-scanning-patterns
"""

from __future__ import annotations

from typing import NamedTuple

_TEXT = r"A-Za-z0-9_\-"
_BASE64 = "A-Za-z0-9+/"


class Format(NamedTuple):
    """The format of an issuer's secrets.

    Attributes:
        issuer: Who issues them.
        begins: Strings that every secret contains; a text without them is skipped.
        pattern: The whole secret.
        source: Where the format is documented.
        near: A word that must shortly precede the secret.
    """

    issuer: str
    begins: str
    pattern: str
    source: str
    near: str = ""


# fmt: off
FORMATS = (
    Format(
        "OpenAI", "sk-", rf"sk-(?:(?:proj|svcacct|admin|None)-[{_TEXT}]{{20,200}}|[A-Za-z0-9]{{32,64}})",
        "gitleaks openai-api-key",
    ),
    Format("Anthropic", "sk-ant-", rf"sk-ant-[{_TEXT}]{{20,200}}", "gitleaks anthropic-api-key"),
    Format(
        "OpenRouter", "sk-or-", r"sk-or-(?:v1-)?[A-Za-z0-9]{32,80}",
        "https://openrouter.ai/docs/api-reference/authentication",
    ),
    Format(
        "LangSmith", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
        "GitHub langchain_langsmith_api_key",
    ),
    Format("Groq", "gsk_", r"gsk_[A-Za-z0-9]{40,60}", "GitHub groq_api_key"),
    Format("xAI", "xai-", r"xai-[A-Za-z0-9]{60,100}", "GitHub xai_api_key"),
    Format("Perplexity", "pplx-", r"pplx-[A-Za-z0-9]{40,60}", "gitleaks perplexity-api-key"),
    Format(
        "Replicate", "r8_", r"r8_[A-Za-z0-9]{37,40}",
        "https://replicate.com/docs/topics/security/api-tokens",
    ),
    Format(
        "Hugging Face", "hf_", r"hf_[A-Za-z0-9]{30,40}|api_org_[A-Za-z]{34}",
        "gitleaks huggingface-access-token",
    ),
    Format("Pinecone", "pcsk_", r"pcsk_[A-Za-z0-9_]{40,80}", "GitHub pinecone_api_key"),
    Format(
        "Tavily", "tvly-", rf"tvly-[{_TEXT}]{{28,60}}",
        "https://docs.tavily.com/documentation/api-reference/introduction",
    ),
    Format("AWS", "A", r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}", "gitleaks aws-access-token"),
    Format(
        "AWS", "", rf"[{_BASE64}]{{40}}",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html",
        "aws|secret.?access|secret.?key",
    ),
    Format(
        "AWS Bedrock", "ABSK", rf"ABSK[{_BASE64}]{{100,280}}={{0,2}}",
        "gitleaks aws-amazon-bedrock-api-key-long-lived",
    ),
    Format("Google", "AIza", rf"AIza[{_TEXT}]{{35}}", "gitleaks gcp-api-key"),
    Format("Google OAuth", "GOCSPX-", rf"GOCSPX-[{_TEXT}]{{28}}", "GitHub google_oauth_client_secret"),
    Format(
        "Google OAuth", "ya29.", rf"ya29\.[{_TEXT}]{{20,400}}",
        "https://cloud.google.com/docs/authentication/token-types",
    ),
    Format("GitHub", "gh", r"gh[pousr]_[A-Za-z0-9]{36,255}", "gitleaks github-pat"),
    Format("GitHub", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}", "gitleaks github-fine-grained-pat"),
    Format(
        "GitLab", "gl",
        rf"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[{_TEXT}]{{20,300}}(?:\.[a-z0-9]{{2,12}}){{0,2}}",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
    ),
    Format("Bitbucket", "ATBB", r"ATBB[A-Za-z0-9]{24,40}", "GitHub atlassian_bitbucket_app_password"),
    Format("Atlassian", "ATATT3", rf"ATATT3[{_TEXT}=]{{100,300}}", "gitleaks atlassian-api-token"),
    Format("Slack", "xox", r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,250}", "gitleaks slack-bot-token"),
    Format(
        "Slack", "xapp-", r"xapp-[0-9]-[A-Z0-9]{5,20}-[0-9]{5,20}-[A-Za-z0-9]{20,100}",
        "gitleaks slack-app-token",
    ),
    Format(
        "Slack", "hooks.slack.com",
        r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,120}",
        "gitleaks slack-webhook-url",
    ),
    Format(
        "Discord", "/webhooks/",
        rf"https://(?:(?:canary|ptb)\.)?discord(?:app)?\.com/api/webhooks/[0-9]{{17,20}}/[{_TEXT}]{{60,80}}",
        "GitHub discord_webhook",
    ),
    Format(
        "Discord", ".", rf"[MNO][A-Za-z0-9_-]{{23,27}}\.[{_TEXT}]{{6}}\.[{_TEXT}]{{27,38}}",
        "https://discord.com/developers/docs/reference#authentication",
    ),
    Format("Telegram", ":A", rf"[0-9]{{8,10}}:A[{_TEXT}]{{34}}", "gitleaks telegram-bot-api-token"),
    Format("Stripe", "k_", r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,250}", "gitleaks stripe-access-token"),
    Format("Stripe", "whsec_", r"whsec_[A-Za-z0-9+/=]{24,80}", "https://docs.stripe.com/webhooks"),
    Format("Square", "sq0", rf"sq0(?:atp|csp|idp)-[{_TEXT}]{{22,60}}", "gitleaks square-access-token"),
    Format("Twilio", "SK", r"SK[0-9a-f]{32}", "gitleaks twilio-api-key"),
    Format(
        "Twilio", "AC", r"AC[0-9a-f]{32}",
        "https://www.twilio.com/docs/iam/api-keys", "twilio|account.?sid|sid",
    ),
    Format("SendGrid", "SG.", rf"SG\.[{_TEXT}]{{16,32}}\.[{_TEXT}]{{39,50}}", "gitleaks sendgrid-api-token"),
    Format("Mailgun", "key-", r"key-[0-9a-f]{32}", "gitleaks mailgun-private-api-token"),
    Format("Mailgun", "-", r"[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}", "gitleaks mailgun-signing-key"),
    Format("Mailchimp", "-us", r"[0-9a-f]{32}-us[0-9]{1,2}", "gitleaks mailchimp-api-key"),
    Format("Brevo", "xkeysib-", r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}", "gitleaks sendinblue-api-token"),
    Format(
        "Resend", "re_", r"re_[A-Za-z0-9]{8,12}_[A-Za-z0-9]{20,30}",
        "https://resend.com/docs/dashboard/api-keys/introduction",
    ),
    Format("npm", "npm_", r"npm_[A-Za-z0-9]{36}", "gitleaks npm-access-token"),
    Format("PyPI", "pypi-AgE", rf"pypi-AgE[{_TEXT}]{{50,1000}}", "gitleaks pypi-upload-token"),
    Format("RubyGems", "rubygems_", r"rubygems_[0-9a-f]{48}", "gitleaks rubygems-api-token"),
    Format("Docker", "dckr_", rf"dckr_(?:pat|oat)_[{_TEXT}]{{20,60}}", "GitHub docker_personal_access_token"),
    Format(
        "Azure", "AccountKey=", rf"[{_BASE64}]{{86}}==",
        "https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string", "accountkey=",
    ),
    Format(
        "Azure", "SharedAccessKey=", rf"[{_BASE64}]{{43}}=",
        "https://learn.microsoft.com/azure/event-hubs/event-hubs-get-connection-string", "sharedaccesskey=",
    ),
    Format("Azure", "Q~", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", "gitleaks azure-ad-client-secret"),
    Format("Databricks", "dapi", r"dapi[0-9a-f]{32}(?:-[0-9])?", "gitleaks databricks-api-token"),
    Format("DigitalOcean", "_v1_", r"do[opr]_v1_[0-9a-f]{64}", "gitleaks digitalocean-pat"),
    Format("Shopify", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", "gitleaks shopify-access-token"),
    Format("HashiCorp", "hv", rf"hv[bsr]\.[{_TEXT}]{{20,300}}", "gitleaks vault-service-token"),
    Format(
        "HashiCorp", ".atlasv1.", rf"[A-Za-z0-9]{{14}}\.atlasv1\.[{_TEXT}=]{{60,70}}",
        "gitleaks hashicorp-tf-api-token",
    ),
    Format(
        "Doppler", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
        "gitleaks doppler-api-token",
    ),
    Format(
        "Grafana", "gl", rf"glsa_[A-Za-z0-9]{{32}}_[0-9a-fA-F]{{8}}|glc_[{_BASE64}]{{32,400}}={{0,2}}",
        "gitleaks grafana-service-account-token",
    ),
    Format("New Relic", "NRAK-", r"NRAK-[A-Z0-9]{27}", "gitleaks new-relic-user-api-key"),
    Format(
        "Sentry", "sntry", rf"sntryu_[0-9a-f]{{64}}|sntrys_[{_BASE64}=_-]{{60,400}}",
        "gitleaks sentry-user-token",
    ),
    Format("Linear", "lin_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}", "gitleaks linear-api-key"),
    Format("Notion", "ntn_", r"ntn_[0-9]{11}[A-Za-z0-9]{35}", "gitleaks notion-api-token"),
    Format("Notion", "secret_", r"secret_[A-Za-z0-9]{43}", "GitHub notion_integration_token"),
    Format("Figma", "fig", rf"fig[dor]_[{_TEXT}]{{36,60}}", "GitHub figma_pat"),
    Format(
        "Airtable", "pat", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
        "https://airtable.com/developers/web/guides/personal-access-tokens",
    ),
    Format("Postman", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", "gitleaks postman-api-token"),
    Format(
        "Supabase", "sb", rf"sbp_[0-9a-f]{{40}}|sb_secret_[{_TEXT}]{{20,60}}",
        "GitHub supabase_personal_access_token",
    ),
    Format(
        "PlanetScale", "pscale_", rf"pscale_(?:tkn|oauth|pw)_[{_TEXT}=.]{{32,64}}",
        "gitleaks planetscale-api-token",
    ),
    Format("Netlify", "nfp_", r"nfp_[A-Za-z0-9]{36,50}", "GitHub netlify_access_token"),
    Format("Heroku", "HRKU-", rf"HRKU-[{_TEXT}]{{30,80}}", "gitleaks heroku-api-key-v2"),
    Format(
        "Fly.io", "f", rf"fo1_[{_TEXT}]{{43}}|fm[12][ar]?_[{_BASE64}]{{100,1000}}={{0,3}}",
        "gitleaks flyio-access-token",
    ),
    Format("Pulumi", "pul-", r"pul-[0-9a-f]{40}", "gitleaks pulumi-api-token"),
    Format("Alibaba", "LTAI", r"LTAI[A-Za-z0-9]{12,26}", "gitleaks alibaba-access-key-id"),
    Format("Facebook", "EAA", r"EAA[A-Za-z0-9]{80,400}", "gitleaks facebook-page-access-token"),
    Format(
        "Mapbox", "k.eyJ", rf"[sp]k\.eyJ[{_TEXT}]{{40,200}}\.[{_TEXT}]{{20,30}}",
        "https://docs.mapbox.com/help/getting-started/access-tokens/",
    ),
    Format("Age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}", "gitleaks age-secret-key"),
    Format(
        "1Password", "ops_eyJ", rf"ops_eyJ[{_BASE64}]{{200,2000}}={{0,3}}",
        "gitleaks 1password-service-account-token",
    ),
)
# fmt: on
