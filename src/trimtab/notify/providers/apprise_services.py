"""The services of apprise that are reached over HTTP and nothing else, by the scheme of their addresses.

Left out is whatever speaks to this machine (desktops, buses, serial lines, syslog), opens connections of its own (mail,
MQTT, XMPP, IRC, AMQP), reads files, or needs more than apprise brings along. What is not here is refused by name.
"""

from collections.abc import Mapping
from typing import Final

_SERVICES: Final = """
acs africas_talking:atalk apprise_api:apprise,apprises awswhatsapp bale bark:bark,barks betterstack
bluesky:bluesky,bsky brevo bulksms bulkvs burstsms:burstsms,kudosity chanify clickatell clicksend
cliq:cliq,zcliq,zohocliq cm custom_form:form,forms custom_json:json,jsons custom_xml:xml,xmls d7networks:d7sms
dapnet dingtalk discord dot eight00com emby:emby,embys enigma2:enigma2,enigma2s evolution:evolution,evolutions
exotel feishu firehydrant flock flowtriq:flowtriq,flowtriqs fluxer:fluxer,fluxers fortysixelks:46elks,elks
freemobile github goalert:goalert,goalerts google_chat:gchat gorush:gorush,gorushs gotify:gotify,gotifys groundmail
groupme gupshup home_assistant:hassio,hassios httpsms humhub:humhub,humhubs ifttt ilert incidentio infobip
instagram jira join kakaotalk:kakao,kakaotalk kaleyra:kaleyra,klr kavenegar kodi:kodi,kodis,xbmc,xbmcs kook kumulos
lametric:lametric,lametrics lark lauther lfgalarm:lfg line mailersend mailgun
mastodon:mastodon,mastodons,toot,toots mattermost:mmost,mmosts messagebird:msgbird misskey:misskey,misskeys
mobilemessage:mobilemessage,mobilemsg msg91 nextcloud:ncloud,nclouds nextcloudtalk:nctalk,nctalks
notica:notica,noticas notifiarr notifico:notifico,notificos notifyapp notifyre ntfy:ntfy,ntfys octopush
office365:azure,o365 one_signal:onesignal onebot:onebot,onebots opsgenie opsimate:opsimate,opsimates pagerduty
pagertree parseplatform:parsep,parseps pinglet:pinglet,pinglets pingram plivo postmark prowl pushbullet:pbul
pushdeer:pushdeer,pushdeers pushed pushjet:pjet,pjets pushme pushover:pover pushplus:pushplus,wecom
pushsafer:psafer,psafers pushward pushy qq reddit resend revolt ringcentral:ringc rocketchat:rocket,rockets ryver
sendgrid sendpulse serverchan:schan serwersms ses seven sfr signal_api:signal,signals signalgrid signl4
simplepush:simplepush,spush sinch slack smsc smseagle:smseagle,smseagles smsmanager:smsmanager,smsmgr smstunnel
smtp2go sns sparkpost spike splunk:splunk,victorops spugpush squadcast stackfield streamlabs:strmlabs
synology:synology,synologys techuluspush:push telegram:tgram telesign telnyx threema trigv:trigv,trigvs twilio
twist twitter:tweet,twitter,x viber voipms vonage:nexmo,vonage webexteams:webex,wxteams wechat wecombot whapi
whatsapp workflows:workflow,workflows wpush wxpusher xmatters youlmk zalo zoom zulip
"""
"""Each a module of apprise, and after a colon its schemes where they are called otherwise."""

MODULES: Final[Mapping[str, str]] = {
    scheme: module
    for module, _, schemes in (one.partition(":") for one in _SERVICES.split())
    for scheme in (schemes or module).split(",")
}
"""By scheme."""
