################################################################################
#
# branch-gateway
#
################################################################################

BRANCH_GATEWAY_VERSION = 0.1.0
BRANCH_GATEWAY_SITE = $(BR2_EXTERNAL_BRANCH_GATEWAY_PATH)/..
BRANCH_GATEWAY_SITE_METHOD = local
BRANCH_GATEWAY_LICENSE = Apache-2.0
BRANCH_GATEWAY_SETUP_TYPE = setuptools

# What a working copy holds beside the sources: environments, builds, downloads.
BRANCH_GATEWAY_EXCLUSIONS = \
	--include=/gateway --include=/pyproject.toml --include=/README.md \
	--exclude=__pycache__ --exclude=/gateway/media/engine --exclude='/*'
BRANCH_GATEWAY_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = $(BRANCH_GATEWAY_EXCLUSIONS)

# The same users and groups as overlay/usr/lib/sysusers.d names: the root file
# system is read-only, so they are made here.
define BRANCH_GATEWAY_USERS
	branch-gateway -1 branch-gateway -1 * /var/lib/branch-gateway /usr/sbin/nologin - Branch gateway signalling
	branch-gateway-media -1 branch-gateway-media -1 * - /usr/sbin/nologin branch-gateway Branch gateway voice
	- -1 gateway-admin -1 * - - - May change the gateway by D-Bus
	- -1 gateway-viewer -1 * - - - May look at the gateway by D-Bus
endef

$(eval $(python-package))
