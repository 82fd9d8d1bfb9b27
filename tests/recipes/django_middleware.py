# settings.py: MIDDLEWARE = [..., "django_middleware.give_notice"]
import givenotice


def give_notice(get_response):
    def middleware(request):
        response = get_response(request)
        givenotice.push(action_name=request.path, url=request.build_absolute_uri(request.path))
        return response

    return middleware
